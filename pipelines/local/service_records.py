"""``run/services.json``: what this root started, readable by its owner alone, changed under one lock."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.errors import UserError
from pipelines.local.processes import Process, is_alive
from pipelines.settings import Settings

LOCK_TIMEOUT_S = 300


@dataclass(frozen=True)
class Record:
    """A started service; ``made_for`` is the hash of what it was started with, ``secrets`` its log-in."""

    name: str
    process: Process
    port: int
    url: str
    log: str
    made_for: str
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return is_alive(self.process)


def read_records(settings: Settings) -> dict[str, Record]:
    """Records by service name, of dead services too. Raises UserError for a file that is not ours."""
    path = _path(settings)
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {name: Record(**{**value, "process": Process(**value["process"])}) for name, value in values.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is not a record of services; end what still runs by hand and remove the file") from None


def write_record(settings: Settings, record: Record) -> None:
    with _changing(settings) as records:
        records[record.name] = record


def forget(settings: Settings, name: str) -> None:
    with _changing(settings) as records:
        records.pop(name, None)


@contextmanager
def services_lock(settings: Settings, name: str) -> Iterator[None]:
    """One starter of a service at a time; the others wait for it. Raises UserError where one holds it too long."""
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    path = settings.run_folder / f"start-{name}.lock"
    try:
        with FileLock(path, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise UserError(f"another process has been starting {name} for {LOCK_TIMEOUT_S} s; see {settings.logs}, then run again") from None


@contextmanager
def _changing(settings: Settings) -> Iterator[dict[str, Record]]:
    path = _path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=30):
        records = read_records(settings)
        yield records
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as target:
            json.dump({name: asdict(record) for name, record in records.items()}, target, indent=1)
        os.replace(part, path)


def _path(settings: Settings) -> Path:
    return settings.run_folder / "services.json"
