"""How each kind of model looks in MLflow: its code, what goes in and comes out, an example, and what it needs installed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

KINDS = ("encoder", "ranker", "policy")
MODELS = Path(__file__).parents[2] / "models"
_TORCH = ("mlflow", "numpy", "pandas", "safetensors", "torch")
_WEIGHTS = ("config.json", "model.safetensors")
_TOKENIZER = ("*.json", "*.txt", "*.model")


@dataclass(frozen=True)
class Flavor:
    """``content`` names the model: equal for equal files and rules; ``metadata`` names what stands inside list-valued inputs, in order."""

    kind: str
    files: tuple[Path, ...]
    content: str
    signature: "ModelSignature"
    example: "pd.DataFrame"
    requirements: list[str]
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> Path:
        return Path(__file__).parent / f"pyfunc_{self.kind}.py"


def flavor_of(settings: Settings, kind: str, folder: Path) -> Flavor:
    """The flavor of the model in this folder, from its config alone: no weights are read."""
    return {"encoder": _encoder, "ranker": _ranker, "policy": _policy}[kind](settings, folder)


def _ranker(settings: Settings, folder: Path) -> Flavor:
    import pandas as pd

    config = json.loads((folder / "config.json").read_text())
    lists = {"user_counters": len(config["user_counters"]), "item_counters": len(config["item_counters"]), "cross": len(config["cross"])}
    columns = {name: _list() for name in lists} | {
        "item_age_h": _number(), "item_vector": _list(), "history_vectors": _list(_list()), "history_age_h": _list(),
        "history_weight": _list(), "position": _number("long"), "query_vector": _list(),
    }  # fmt: skip
    vector = [round(config["text_dim"] ** -0.5, 6)] * config["text_dim"]
    row = {name: [1.0] * width for name, width in lists.items()} | {
        "item_age_h": 24.0, "item_vector": vector, "history_vectors": [vector], "history_age_h": [2.0], "history_weight": [1.0],
        "position": 0,
    }  # fmt: skip
    newcomer = row | {"history_vectors": [], "history_age_h": [], "history_weight": []}
    if config.get("image_dim"):
        columns |= {"item_image": _list(), "history_images": _list(_list())}
    optional = ("position", "query_vector", "item_image", "history_images")
    signature = _signature(columns, dict.fromkeys(config["tasks"], _number()), optional)
    names = ("user_counters", "item_counters", "cross", "tasks", "encoder_version")
    metadata = {name: config[name] for name in names}
    files = _files(folder, _WEIGHTS)
    return Flavor("ranker", files, _content(files), signature, pd.DataFrame([row, newcomer]), _pinned(_TORCH), metadata=metadata)


def _policy(settings: Settings, folder: Path) -> Flavor:
    import pandas as pd

    config = json.loads((folder / "config.json").read_text())
    users, width = config["user_dim"], config["candidate_dim"]
    slate = [[0.1 * place, *[1.0] * (width - 1)] for place in range(3)]
    example = pd.DataFrame({"user_vector": [[0.5] * users] * 2, "candidates": [slate, slate[:2]]})
    signature = _signature({"user_vector": _list(), "candidates": _list(_list())}, {"logits": _list(), "propensity": _list()})
    files = _files(folder, _WEIGHTS)
    return Flavor("policy", files, _content(files), signature, example, _pinned(_TORCH), metadata=config)


def _encoder(settings: Settings, folder: Path) -> Flavor:
    import pandas as pd

    from models.encoder import Encoder

    encoder = Encoder(str(folder), settings.encoder.pooling, settings.encoder.max_tokens)
    weights = _files(encoder.folder(), ("*.safetensors",)) or _files(encoder.folder(), ("pytorch_model.bin",))
    files = _files(encoder.folder(), _TOKENIZER) + weights
    example = pd.DataFrame({"text": ["Toy Story (1995) animation children comedy", "Heat (1995) action crime thriller"]})
    rule = {"pooling": encoder.pooling, "max_tokens": encoder.max_tokens}
    signature = _signature({"text": _number("string")}, {"vector": _list()})
    metadata = rule | {"encoder_version": encoder.version}
    return Flavor("encoder", files, encoder.version, signature, example, _pinned((*_TORCH, "transformers")), rule, metadata)


def _content(files: Sequence[Path]) -> str:
    """12 hex digits of the files' names and bytes."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def _files(folder: Path, patterns: Sequence[str]) -> tuple[Path, ...]:
    return tuple(sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}))


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], optional: Sequence[str] = ()) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    def schema(columns: dict[str, Any]) -> Schema:
        return Schema([ColSpec(kind, name, required=name not in optional) for name, kind in columns.items()])

    return ModelSignature(schema(inputs), schema(outputs))


def _number(kind: str = "double") -> Any:
    from mlflow.types import DataType

    return DataType[kind]


def _list(of: Any = None) -> Any:
    from mlflow.types.schema import Array

    return Array(of or _number())


def _pinned(packages: Sequence[str]) -> list[str]:
    """Versions as installed, without a build's local part."""
    return [f"{name}=={version(name).split('+')[0]}" for name in packages]
