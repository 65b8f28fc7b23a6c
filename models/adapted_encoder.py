"""An encoder under adaptation: read from a folder, text vectors with gradients, and back into a folder that anybody can load."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from models.adapters import Adapted, AdapterSettings
from models.devices import learning_device
from models.encoder import read_tokenizer, tokens_of, vectors_of
from models.encoder_files import encoder_folder


@dataclass(frozen=True)
class AdaptedEncoder:
    """The adapter inside its encoder, and the rules by which texts become vectors: those of the frozen encoder."""

    adapter: Adapted
    tokenizer: Any
    pooling: Literal["mean", "last"]
    max_tokens: int

    @classmethod
    def read(
        cls, path_or_name: str, pooling: Literal["mean", "last"], max_tokens: int, settings: AdapterSettings, steps: int, seed: int
    ) -> Self:
        """A local encoder with a fresh adapter, which changes no vector yet. FileNotFoundError, ValueError where it cannot be had."""
        from transformers import AutoModel

        folder = str(encoder_folder(path_or_name))
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        adapter = Adapted(model, settings, steps, seed)
        model.to(learning_device())
        return cls(adapter, read_tokenizer(folder), pooling, max_tokens)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n, D), with gradients to the adapter."""
        return vectors_of(self.adapter.model, tokens_of(self.tokenizer, texts, self.max_tokens), self.pooling)

    def save(self, folder: Path) -> None:
        """Merges the adapter and writes an ordinary Hugging Face folder, whole or not at all. Ends the adaptation."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self.adapter.merged().save_pretrained(scratch / "new")
            self.tokenizer.save_pretrained(scratch / "new")
            (scratch / "new").rename(folder)
        finally:
            shutil.rmtree(scratch)
