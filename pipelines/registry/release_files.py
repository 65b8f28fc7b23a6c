"""The models of a release as files: whether scoring can load them, and whether their weights are numbers. Needs no torch."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError

MODELS = ("ranker", "policy")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def install(target: Path, models: Mapping[str, Path], release_id: str) -> None:
    """Copies the models of a release to ``target/<kind>`` in one rename. Raises UserError for one that cannot score: then nothing is there.

    The first release has no gates: this alone keeps it from being one of nan.
    """
    scratch = target.with_name(f".{target.name}")
    for folder in (scratch, target):
        shutil.rmtree(folder, ignore_errors=True)
    for kind, path in models.items():
        shutil.copytree(path, scratch / kind)
    check_models(scratch, release_id)
    scratch.rename(target)


def check_models(folder: Path, release_id: str) -> None:
    """Raises UserError where a model in ``folder`` cannot score: nothing goes live with it, nothing is scored by it."""
    for model in MODELS:
        if wrong := wrong_model(folder / model):
            raise UserError(
                f"release {release_id}, {model}: {wrong}; expected a model that scoring can load. Put its files back from MLflow or a "
                "backup, or mend what made it, and run the step again"
            )


def wrong_model(folder: Path) -> str | None:
    """What is wrong with the model in this folder, if anything is."""
    return _wrong_config(folder / CONFIG) or _wrong_weights(folder / WEIGHTS)


def _wrong_config(path: Path) -> str | None:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return f"no {path.name}"
    except (OSError, ValueError):
        return f"{path.name} is not JSON"
    return None


def _wrong_weights(path: Path) -> str | None:
    """The header names where each tensor ends, so a cut file shows; then every value must be finite."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = path.stat().st_size
            header = json.loads(stream.read(length)) if length <= size else {}
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        end = max(tensor["data_offsets"][1] for tensor in tensors.values())
    except FileNotFoundError:
        return f"no {path.name}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{path.name} has no readable header"
    if size != 8 + length + end:
        return f"{path.name} has {size} bytes, {8 + length + end} by its header"
    return _not_finite(path, 8 + length, tensors)


def _not_finite(path: Path, start: int, tensors: dict[str, Any]) -> str | None:
    for name, tensor in tensors.items():
        first, last = tensor["data_offsets"]
        kind = {"F64": np.float64, "F32": np.float32, "F16": np.float16}.get(tensor["dtype"])
        if kind is not None and last > first:
            values = np.fromfile(path, kind, (last - first) // np.dtype(kind).itemsize, offset=start + first)
            if wrong := int((~np.isfinite(values)).sum()):
                return f"{wrong} of {values.size} values of {name} in {path.name} are not finite"
    return None
