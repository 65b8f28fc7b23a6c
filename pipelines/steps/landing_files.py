"""Which landing files an hour takes. The first attempt fixes the list in the ledger; a rerun takes exactly that list."""

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import TransientError, UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LandingFile
from pipelines.settings import Settings
from pipelines.steps.step import Attempt
from spark_jobs.landing_formats import ENDINGS

MARKER = "_HOUR_DONE"
KINDS = ("impressions", "feedback", "items")


def frozen_files(attempt: Attempt) -> list[LandingFile]:
    """The files of these hours: the frozen list where there is one (checked), else what is complete now, then frozen."""
    settings = attempt.settings
    row = ledger.frozen(settings, "ingest", attempt.hours[-1])
    if row is not None:
        for file in row.files:
            _check_unchanged(settings, file)
        return list(row.files)
    history = ledger.rows(settings, "ingest")
    files = _carried(history, attempt.hours[0]) + _new_files(settings, history)
    attempt.record("frozen", f"{len(files)} landing files", files=tuple(files))
    return files


def check_complete(settings: Settings, hour: str) -> None:
    """Raises TransientError where a producer that marks its hours has not marked this one yet. A frozen hour is complete."""
    if ledger.frozen(settings, "ingest", hour) is not None:
        return
    wanted = [settings.landing / kind / f"{MARKER}-{hour}" for kind in settings.lake.hour_done]
    if missing := [_relative(settings, path) for path in wanted if not path.exists()]:
        raise TransientError(f"hour {hour} is not complete: no {', '.join(missing)} in landing; its producer writes it after the last file")


def frozen_range(settings: Settings, pending: Sequence[str]) -> list[str]:
    """All hours that were frozen together with the first one, else all that are pending.

    Only together are they what they were: records without an hour of their own, as those refused, lie in the last one.
    """
    row = ledger.frozen(settings, "ingest", pending[0])
    if row is None:
        return list(pending)
    history = ledger.still_frozen(ledger.rows(settings, "ingest"))
    return sorted(hour for hour, other in history.items() if other.started_at == row.started_at)


def pulled_files(settings: Settings, kind: str, prefix: str) -> list[LandingFile]:
    """Files so named that an hour took, as it took them (maintenance drops them later), and complete ones that none has taken."""
    taken = _taken(ledger.rows(settings, "ingest"))
    own = [file for path, file in taken.items() if path.startswith(f"{kind}/{prefix}")]
    new = [path for path in _complete(settings, kind) if path.name.startswith(prefix) and _relative(settings, path) not in taken]
    return own + [_landing_file(settings, path, kind) for path in new]


def _taken(history: Sequence[ledger.LedgerRow]) -> dict[str, LandingFile]:
    return {file.path: file for row in ledger.still_frozen(history).values() for file in row.files}


def _complete(settings: Settings, kind: str) -> list[Path]:
    return [path for path in sorted((settings.landing / kind).glob("*")) if is_complete(path)]


def _new_files(settings: Settings, history: Sequence[ledger.LedgerRow]) -> list[LandingFile]:
    taken = _taken(history)
    new = [(kind, path) for kind in KINDS for path in _complete(settings, kind) if _relative(settings, path) not in taken]
    for _, path in new:
        _check_whole(settings, path)
    return [_landing_file(settings, path, kind) for kind, path in new]


def _carried(history: Sequence[ledger.LedgerRow], first: str) -> list[LandingFile]:
    """Files of the last finished hour that hold records of later hours."""
    done = [row for row in history if row.status == "done" and row.hour < first]
    return list(max(done, key=lambda row: (row.hour, row.ended_at)).files) if done else []


def is_complete(path: Path) -> bool:
    """Whether this is a landing file under its final name."""
    return path.is_file() and path.name.endswith(ENDINGS) and not path.name.startswith(("_", "."))


def _relative(settings: Settings, path: Path) -> str:
    return str(path.relative_to(settings.landing))


def _landing_file(settings: Settings, path: Path, kind: str) -> LandingFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return LandingFile(_relative(settings, path), path.stat().st_size, digest, kind)


def _check_whole(settings: Settings, path: Path) -> None:
    """Raises UserError for a compressed or Parquet file that ends too early: nothing of it is taken, and nothing is frozen."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
        elif path.suffix == ".parquet":
            pq.read_metadata(path)
    except (EOFError, OSError, zlib.error, pa.ArrowException) as error:
        raise UserError(
            f"landing file {_relative(settings, path)} cannot be read to its end: {error}; write it under a name that ends in .tmp "
            "and rename it when it is complete, or remove it"
        ) from None


def _check_unchanged(settings: Settings, file: LandingFile) -> None:
    path = settings.landing / file.path
    if not path.exists():
        raise UserError(f"landing file {file.path} was taken by this hour and is gone; put it back and run again")
    now = _landing_file(settings, path, file.kind)
    if now.sha256 != file.sha256:
        raise UserError(
            f"landing file {file.path} changed after it was taken: {now.size} bytes, {file.size} expected; "
            "put the old file back, and land the new records under another name"
        )
