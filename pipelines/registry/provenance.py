"""What a run is made of: code, environment, settings and the table versions that it read."""

import hashlib
import json
import subprocess
import uuid
from functools import cache
from typing import TYPE_CHECKING

from pipelines.lake.tables import table_path
from pipelines.local.code_version import ROOT, code_version
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities import Dataset


def run_tags(settings: Settings, step: str, hour: str) -> dict[str, str]:
    """Tags of each run and version; ``root`` keeps two roots that share a server apart."""
    tags = {
        "hour": hour,
        "step": step,
        "lineage": "main",
        "root": uuid.uuid5(uuid.NAMESPACE_URL, str(settings.home)).hex[:8],
        "code_version": code_version(),
        "lock_hash": _lock_hash(),
        "reward_version": settings.reward.version,
        "seed": str(settings.seed),
        "mlflow.source.name": f"pipelines/steps/{step}.py",
    }
    if settings.lake.start_hour:
        tags["first_hour"] = settings.lake.start_hour
    commit = _git_commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def delta_dataset(settings: Settings, name: str, version: int) -> "Dataset":
    """A Delta table at a version, as MLflow's dataset; no Spark is asked."""
    from mlflow.entities import Dataset

    source = json.dumps({"path": str(table_path(settings, name)), "delta_table_version": version})
    return Dataset(name, f"delta:{version}", "delta_table", source, profile=json.dumps({"version": version}))


@cache
def _lock_hash() -> str:
    """12 hex digits of the pinned environment."""
    path = ROOT / "requirements.lock"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else "none"


@cache
def _git_commit() -> str | None:
    """The checkout's commit; None where it is no repository or git is missing."""
    try:
        found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
