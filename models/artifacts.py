"""Models on disk: a folder with config.json and model.safetensors, never a pickle."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.policies.base import PolicyConfig, SlatePolicy
from models.policies.learners import make_policy
from models.ranker import Ranker, RankerConfig

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

Module = TypeVar("Module", bound=nn.Module)


def save_ranker(ranker: Ranker, folder: Path | str) -> None:
    write_folder(folder, {CONFIG: ranker.config.to_json()}, {WEIGHTS: ranker.state_dict()})


def load_ranker(folder: Path | str) -> Ranker:
    """The ranker in eval mode."""
    ranker = Ranker(RankerConfig.from_json((Path(folder) / CONFIG).read_text()))
    return _with_weights(ranker, folder)


def save_policy(policy: SlatePolicy, folder: Path | str) -> None:
    write_folder(folder, {CONFIG: policy.config.to_json()}, {WEIGHTS: policy.state_dict()})


def load_policy(folder: Path | str) -> SlatePolicy:
    """The policy in eval mode."""
    policy = make_policy(PolicyConfig.from_json((Path(folder) / CONFIG).read_text()))
    return _with_weights(policy, folder)


def write_folder(folder: Path | str, texts: Mapping[str, str], tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the files into a new folder and rename it into place, so that a reader never sees half of a model."""
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        for name, text in texts.items():
            (fresh / name).write_text(text)
        for name, group in tensors.items():
            save_file({key: tensor.detach().cpu().contiguous() for key, tensor in group.items()}, fresh / name)
        if target.exists():
            target.rename(scratch / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(scratch)


def _with_weights(module: Module, folder: Path | str) -> Module:
    try:
        module.load_state_dict(load_file(Path(folder) / WEIGHTS))
    except RuntimeError as error:
        found = " ".join(str(error).split())
        raise ValueError(f"{folder} was saved by another version of recloop ({found[:200]}); begin a new root from the log") from None
    module.eval()
    return module
