"""What scoring needs of a release: its folder with both models, and its versions in MLflow."""

import json
from collections.abc import Sequence
from pathlib import Path

from pipelines.lake.verify.findings import Findings
from pipelines.registry.client import RegistryDown
from pipelines.registry.flavors import KINDS
from pipelines.registry.releases import PRODUCTION, ReleaseRow, all_releases, release_folder
from pipelines.registry.versions import versions
from pipelines.settings import Settings

MODELS = ("ranker", "policy")
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def check_releases(found: Findings, settings: Settings) -> None:
    """Every release that is or was in force can be loaded, and every release's versions are registered, where MLflow answers."""
    rows = all_releases(settings)
    for row in rows:
        if row.stage == PRODUCTION:
            _check_folder(found, settings, row)
    try:
        _check_versions(found, settings, rows)
    except RegistryDown as error:
        found.not_checked.append(f"versions of releases in MLflow: {error}")


def _check_folder(found: Findings, settings: Settings, row: ReleaseRow) -> None:
    for model in MODELS:
        folder = release_folder(settings, row.release_id) / model
        wrong = _wrong_config(folder / CONFIG) or _wrong_weights(folder / WEIGHTS)
        if wrong:
            advice = f"copy the artifacts of {model} version {row.versions[model]} out of MLflow into {folder}"
            found.add("release", "releases", f"release {row.release_id}, {model}", wrong, "a model that scoring can load", advice)


def _check_versions(found: Findings, settings: Settings, rows: Sequence[ReleaseRow]) -> None:
    held = {kind: {version.number for version in versions(settings, kind)} for kind in KINDS} if rows else {}
    for kind, numbers in held.items():
        for row in rows:
            if row.versions[kind] not in numbers:
                where = f"release {row.release_id}, {kind}"
                advice = "nothing for scoring, which reads the release's folder; the version cannot be reviewed or put back any more"
                found.add("release", "releases", where, f"no version {row.versions[kind]} in MLflow", "a registered version", advice)


def _wrong_config(path: Path) -> str | None:
    try:
        json.loads(path.read_bytes())
    except FileNotFoundError:
        return f"no {path.name}"
    except (OSError, ValueError):
        return f"{path.name} is not JSON"
    return None


def _wrong_weights(path: Path) -> str | None:
    """By the header alone: it names where each tensor ends, so a cut file shows."""
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = path.stat().st_size
            header = json.loads(stream.read(length)) if length <= size else {}
        end = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    except FileNotFoundError:
        return f"no {path.name}"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{path.name} has no readable header"
    return None if size == 8 + length + end else f"{path.name} has {size} bytes, {8 + length + end} by its header"
