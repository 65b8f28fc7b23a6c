"""Text to vectors by any Hugging Face encoder: mean pooling for BERT kinds, last token for GPT kinds."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.encoder_files import default_encoder_path, encoder_folder, encoder_version


class Encoder:
    """A frozen encoder; the model is read when the first text comes.

    path_or_name: a folder, or a hub name that is in the local cache. max_tokens: longer texts are cut.
    """

    def __init__(
        self,
        path_or_name: str,
        pooling: Literal["mean", "last"] = "mean",
        max_tokens: int = 64,
        batch_size: int = 64,
    ) -> None:
        if pooling not in ("mean", "last"):
            raise ValueError(f"encoder pooling must be 'mean' or 'last', found {pooling!r}")
        self.path_or_name, self.pooling = path_or_name, pooling
        self.max_tokens, self.batch_size = max_tokens, batch_size
        self._model: Any = None
        self._tokenizer: Any = None
        self._version: str | None = None

    @classmethod
    def load(
        cls,
        path_or_name: str | None = None,
        pooling: Literal["mean", "last"] = "mean",
        max_tokens: int = 64,
        batch_size: int = 64,
    ) -> "Encoder":
        """An encoder with its model in memory; without a path the packaged default."""
        encoder = cls(path_or_name or default_encoder_path(), pooling, max_tokens, batch_size)
        encoder._read()
        return encoder

    @property
    def version(self) -> str:
        """12 hex digits of the weights, tokenizer and configuration files, the pooling and the length limit."""
        if self._version is None:
            self._version = encoder_version(self.path_or_name, self.pooling, self.max_tokens)
        return self._version

    @property
    def dim(self) -> int:
        self._read()
        return int(self._model.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (n, D) in the order of the texts; each distinct text is encoded once, short ones together."""
        self._read()
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        vectors = np.zeros((len(distinct), self.dim), dtype=np.float32)
        for start in range(0, len(distinct), self.batch_size):
            part = slice(start, start + self.batch_size)
            vectors[part] = self._encode_within_memory(distinct[part])
        row = {text: number for number, text in enumerate(distinct)}
        return vectors[[row[text] for text in texts]] if texts else vectors

    def _encode_within_memory(self, texts: list[str]) -> NDArray[np.float32]:
        """Half a batch at a time where a GPU has no room for it, and on the CPU where it has none for a single text."""
        try:
            return np.asarray(self._encode_batch(texts).float().cpu().numpy())
        except torch.OutOfMemoryError:
            warnings.warn(f"the GPU has no memory to encode {len(texts)} texts at once; trying half, then the CPU", stacklevel=2)
        if len(texts) == 1:
            self._model = self._model.to("cpu")
            return np.asarray(self._encode_batch(texts).float().cpu().numpy())
        half = len(texts) // 2
        return np.concatenate([self._encode_within_memory(part) for part in (texts[:half], texts[half:])])

    @torch.inference_mode()
    def _encode_batch(self, texts: list[str]) -> Tensor:
        return text_vectors(self._model, self._tokenizer, texts, self.pooling, self.max_tokens)

    def _read(self) -> None:
        if self._model is not None:
            return
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading weights: it stood between a command's lines

        folder = str(self.folder())
        self._tokenizer = read_tokenizer(folder)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def folder(self) -> Path:
        """Where its files lie."""
        return encoder_folder(self.path_or_name)


def read_tokenizer(folder: str) -> Any:
    """The folder's tokenizer, padding on the right; GPT kinds have no padding token and pad with their last one."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="right")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def text_vectors(model: Any, tokenizer: Any, texts: Sequence[str], pooling: str, max_tokens: int) -> Tensor:
    """Unit vectors (B, D) of the texts, in one pass of the model."""
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt").to(model.device)
    hidden = model(**tokens).last_hidden_state  # (B, L, D)
    return torch.nn.functional.normalize(pool(hidden, tokens["attention_mask"], pooling), dim=-1)


def pool(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Token vectors (B, L, D), padded on the right, to text vectors (B, D)."""
    if pooling == "last":
        last = attention_mask.sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (B, L, 1)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
