"""Text to vectors by any Hugging Face encoder: mean pooling for BERT kinds, last token for GPT kinds."""

import itertools
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.devices import learning_device
from models.encoder_files import default_encoder_path, encoder_folder, encoder_version

_TEXTS_AT_ONCE = {"cpu": 64, "cuda": 1024}  # a GPU waits for its next kernel longer than it takes over a few texts
_AHEAD = 4  # batches whose tokens are made, and whose vectors are fetched, while a GPU is at others


class Encoder:
    """A frozen encoder; the model is read when the first text comes.

    path_or_name: a folder, or a hub name that is in the local cache. max_tokens: longer texts are cut. batch_size: texts at once,
    None for what suits the device.
    """

    def __init__(
        self,
        path_or_name: str,
        pooling: Literal["mean", "last"] = "mean",
        max_tokens: int = 64,
        batch_size: int | None = None,
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
        batch_size: int | None = None,
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
        start = 0
        for found in self._encoded(distinct):
            vectors[start : start + len(found)] = found.cpu().numpy()
            start += len(found)
        row = {text: number for number, text in enumerate(distinct)}
        return vectors[[row[text] for text in texts]] if texts else vectors

    def _encoded(self, texts: list[str]) -> Iterator[Tensor]:
        """Vectors of the texts in order, batch by batch; on a GPU nothing waits for it until some batches are under way."""
        size = self.batch_size or _TEXTS_AT_ONCE[self._model.device.type]
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        ahead = _AHEAD if self._model.device.type == "cuda" else 0
        with ThreadPoolExecutor(1) as thread:
            tokens, found = deque(thread.submit(self._tokens, part) for part in parts[: ahead + 1]), deque[Tensor]()
            for number, part in enumerate(parts):
                if number + ahead + 1 < len(parts):
                    tokens.append(thread.submit(self._tokens, parts[number + ahead + 1]))
                found.append(self._encode_within_memory(part, tokens.popleft().result()))
                if len(found) > ahead:
                    yield found.popleft()
            yield from found

    def _tokens(self, texts: list[str]) -> Any:
        return tokens_of(self._tokenizer, texts, self.max_tokens)

    def _encode_within_memory(self, texts: list[str], tokens: Any) -> Tensor:
        """Half a batch at a time where a GPU has no room for it, and on the CPU where it has none for a single text."""
        try:
            return self._encode_batch(tokens)
        except torch.OutOfMemoryError:
            warnings.warn(f"the GPU has no memory to encode {len(texts)} texts at once; trying half, then the CPU", stacklevel=2)
        if len(texts) == 1:
            self._model = self._model.to("cpu")
            return self._encode_batch(tokens)
        half = len(texts) // 2
        return torch.cat([self._encode_within_memory(part, self._tokens(part)).cpu() for part in (texts[:half], texts[half:])])

    @torch.inference_mode()
    def _encode_batch(self, tokens: Any) -> Tensor:
        return vectors_of(self._model, tokens, self.pooling)

    def _read(self) -> None:
        if self._model is not None:
            return
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # type: ignore[no-untyped-call]  # of reading weights: it stood between a command's lines

        folder = str(self.folder())
        self._tokenizer = read_tokenizer(folder)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        self._model = model.to(learning_device()).eval()

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


def tokens_of(tokenizer: Any, texts: Sequence[str], max_tokens: int) -> Any:
    """Token ids and attention mask (B, L) of the texts, as long as the longest of them.

    What the tokenizer's own call gives, sooner: that one makes lists of everything else too, and a GPU waits for it.
    """
    if not tokenizer.is_fast:
        return tokenizer(list(texts), padding=True, truncation=True, max_length=max_tokens, return_tensors="pt")
    from transformers import BatchEncoding

    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_tokens)
    backend.no_padding()
    found = [one.ids for one in backend.encode_batch_fast(list(texts))]
    lengths = np.array([len(ids) for ids in found], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.full(mask.shape, tokenizer.pad_token_id, dtype=np.int64)
    ids[mask] = np.fromiter(itertools.chain.from_iterable(found), dtype=np.int64, count=int(lengths.sum()))
    return BatchEncoding({"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))})


def vectors_of(model: Any, tokens: Any, pooling: str) -> Tensor:
    """Unit vectors (B, D) of what `tokens_of` gives, in one pass of the model."""
    tokens = tokens.to(model.device)
    hidden = model(**tokens).last_hidden_state  # (B, L, D)
    return torch.nn.functional.normalize(pool(hidden, tokens["attention_mask"], pooling).float(), dim=-1)


def pool(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Token vectors (B, L, D), padded on the right, to text vectors (B, D)."""
    if pooling == "last":
        last = attention_mask.sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)  # (B, L, 1)
    return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
