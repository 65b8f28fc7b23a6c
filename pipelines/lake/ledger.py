"""The ledger: one row an attempt of a step for an hour, written last. A commit without its row did not happen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.compute as pc

from pipelines.lake.control import append_rows, read_rows
from pipelines.settings import Settings

DONE = ("done", "unchanged", "superseded")
SET_ASIDE = "set_aside"  # step of the rows after which the named tables' versions begin anew


RULES = "rules"  # the kind of a file that is no landing file: the business rules of a draw; its path begins at the root


@dataclass(frozen=True)
class LandingFile:
    """A file that an hour took: only its records after ``after_hour`` where an earlier hour took the rest."""

    path: str
    size: int
    sha256: str
    kind: str
    after_hour: str = ""


@dataclass(frozen=True)
class LedgerRow:
    """What one attempt read, wrote and took; ``inputs`` and ``outputs`` are table versions; ``challenger_id``: the release in staging.

    began_from: the weights that a pass of learning went on from (``ranker_learning.Base``).
    """

    hour: str
    step: str
    status: str
    code_version: str
    started_at: datetime
    ended_at: datetime
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    files: tuple[LandingFile, ...] = ()
    rows_in: int | None = None
    rows_out: int | None = None
    rows_refused: int | None = None
    content_hash: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    release_id: str | None = None
    challenger_id: str | None = None
    began_from: str | None = None
    detail: str | None = None
    attempt: int = 0


def write_rows(settings: Settings, new: Sequence[LedgerRow]) -> None:
    """Appends rows in one commit, each as the next attempt of its step and hour.

    A clock that was set back must not put them before what was done: they end after every row that is there.
    """
    earlier = rows(settings)
    after = earlier[-1].ended_at + timedelta(microseconds=1) if earlier else datetime.min.replace(tzinfo=UTC)
    in_order = [replace(row, ended_at=max(row.ended_at, after)) for row in new]
    append_rows(settings, "ledger", [_values(row, 1 + _attempts(earlier, row)) for row in in_order])


def _attempts(earlier: Sequence[LedgerRow], row: LedgerRow) -> int:
    return sum((r.step, r.hour) == (row.step, row.hour) for r in earlier)


def _values(row: LedgerRow, attempt: int) -> dict[str, Any]:
    values = asdict(row) | {"attempt": attempt}
    values["inputs"] = [{"table": name, "version": version} for name, version in row.inputs.items()]
    values["outputs"] = [{"table": name, "version": version} for name, version in row.outputs.items()]
    values["seconds"] = [{"stage": stage, "s": seconds} for stage, seconds in row.seconds.items()]
    return values


def rows(settings: Settings, step: str | None = None, hour: str | None = None) -> list[LedgerRow]:
    """Attempts in the order in which they ended, of one step or hour where named."""
    conditions = [pc.field(name) == value for name, value in (("step", step), ("hour", hour)) if value is not None]
    where = conditions[0] & conditions[1] if len(conditions) == 2 else (conditions[0] if conditions else None)
    found = read_rows(settings, "ledger", where=where)
    return sorted((_row(values) for values in found), key=lambda row: (row.ended_at, row.attempt))


def last_done(settings: Settings, step: str, hour: str) -> LedgerRow | None:
    """The newest attempt that made output (``done``) for this step and hour."""
    done = [row for row in rows(settings, step, hour) if row.status == "done"]
    return done[-1] if done else None


def newest_done(settings: Settings, step: str, before: str) -> LedgerRow | None:
    """The last attempt that made output, of the newest hour before this one."""
    done = [row for row in rows(settings, step) if row.status == "done" and row.hour < before]
    return max(done, key=lambda row: (row.hour, row.ended_at), default=None)


def pass_end(settings: Settings, row: LedgerRow) -> str:
    """The last hour of the attempt that wrote this row: an attempt over several hours leaves a row for each."""
    return max(other.hour for other in rows(settings, row.step) if other.started_at == row.started_at)


def newest_output(settings: Settings, step: str, table: str) -> int:
    """The version of the table that the step's last finished attempt made. Raises IndexError where there is none."""
    return [row.outputs[table] for row in rows(settings, step) if row.status == "done" and table in row.outputs][-1]


def newest_hour(settings: Settings, step: str, before: str | None = None) -> str | None:
    """The newest hour that the step has finished, at most ``before`` (not included)."""
    hours = [row.hour for row in rows(settings, step) if row.status in DONE and (before is None or row.hour < before)]
    return max(hours, default=None)


def frozen(settings: Settings, step: str, hour: str) -> LedgerRow | None:
    """The row by which the first attempt fixed its input; a rerun works from the same. None after ``released``."""
    return still_frozen(rows(settings, step, hour)).get(hour)


def still_frozen(history: Sequence[LedgerRow]) -> dict[str, LedgerRow]:
    """By hour the first ``frozen`` row of one step, unless a later ``released`` row gave its input back."""
    found: dict[str, LedgerRow] = {}
    for row in history:
        if row.status == "frozen":
            found.setdefault(row.hour, row)
        elif row.status == "released":
            found.pop(row.hour, None)
    return found


def _row(values: dict[str, Any]) -> LedgerRow:
    values = dict(values)
    for name in ("inputs", "outputs"):
        values[name] = {entry["table"]: entry["version"] for entry in values[name] or []}
    values["seconds"] = {entry["stage"]: entry["s"] for entry in values["seconds"] or []}
    values["files"] = tuple(LandingFile(**file) for file in values["files"] or [])
    return LedgerRow(**values)
