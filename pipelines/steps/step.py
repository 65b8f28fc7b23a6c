"""The frame of every step: lock, stage times, and the ledger row that makes the attempt count."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from filelock import FileLock, Timeout

from pipelines.clock import wall_clock
from pipelines.errors import TransientError, UserError
from pipelines.failpoint import failpoint
from pipelines.lake import ledger
from pipelines.lake.holds import check_not_frozen
from pipelines.lake.ledger import LedgerRow, write_rows
from pipelines.local.code_version import code_version
from pipelines.settings import Settings

log = structlog.get_logger()
LOCK_TIMEOUT_S = 1800


@dataclass(frozen=True)
class Outcome:
    """How a step ended for an hour: ``done``, ``unchanged``, ``superseded``, ``rejected`` … and a sentence."""

    step: str
    hour: str
    status: str
    detail: str


@dataclass
class Attempt:
    """What the running attempt gathers for its ledger row."""

    settings: Settings
    step: str
    hours: Sequence[str]
    started_at: datetime = field(default_factory=wall_clock)
    values: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the wall seconds of the block to the stage's time."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)

    def record(self, status: str, detail: str = "", **values: Any) -> Outcome:
        """Writes a ledger row for each hour, all in one commit: the commit point of the attempt."""
        row = LedgerRow(
            hour=self.hours[-1], step=self.step, status=status, code_version=code_version(), started_at=self.started_at,
            ended_at=wall_clock(), inputs=self.inputs, outputs=self.outputs, seconds=self.seconds, detail=detail,
            **(self.values | values),
        )  # fmt: skip
        failpoint(self.settings, f"{self.step}:before_{status}")
        write_rows(self.settings, [replace(row, hour=hour) for hour in self.hours])
        failpoint(self.settings, f"{self.step}:after_{status}")
        log.info("step", step=self.step, hour=row.hour, status=status, detail=detail, seconds=self.seconds)
        return Outcome(self.step, row.hour, status, detail)


@contextmanager
def attempt(settings: Settings, step: str, hours: Sequence[str]) -> Iterator[Attempt]:
    """An attempt; one that raises leaves a ``failed`` row with the reason, and the error goes on. Raises UserError for a frozen hour."""
    check_not_frozen(settings, hours)
    current = Attempt(settings, step, hours)
    failpoint(settings, f"{step}:start")
    try:
        yield current
    except BaseException as error:
        current.outputs.clear()
        current.record("failed", f"{type(error).__name__}: {error}"[:500])
        raise


def check_follows(current: Attempt, step: str) -> None:
    """Raises UserError where the step before this one has not finished the hour."""
    hour = current.hours[-1]
    if not any(row.status in ledger.DONE for row in ledger.rows(current.settings, step, hour)):
        raise UserError(f"hour {hour} has no finished {step}; run it first, or `recloop hour {hour}` for all steps")


def settled(current: Attempt) -> Outcome | None:
    """The outcome of an hour that needs no work: a newer hour is done (superseded), or this code did it (unchanged)."""
    settings, step, hour = current.settings, current.step, current.hours[-1]
    newest, done = ledger.newest_hour(settings, step), ledger.last_done(settings, step, hour)
    if newest is not None and hour < newest:
        return current.record("superseded", f"{newest} is done")
    if done is not None and done.code_version == code_version():
        return current.record("unchanged", "the hour was finished by this code", release_id=done.release_id)
    return None


@contextmanager
def writer_lock(settings: Settings, name: str) -> Iterator[None]:
    """One writer of a kind (``spark``, ``gpu``, ``releases``) at a root. Raises TransientError where another keeps it for too long."""
    settings.run_folder.mkdir(parents=True, exist_ok=True)
    path = settings.run_folder / f"{name}.lock"
    try:
        held = FileLock(path, timeout=LOCK_TIMEOUT_S).acquire()
    except Timeout:
        raise TransientError(
            f"another process has held {path} for {LOCK_TIMEOUT_S} s; let it finish, or end it, and run this step again"
        ) from None
    with held:
        yield
