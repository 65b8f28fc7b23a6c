"""The data half of the hour: ingest, increments, examples (before the caches move), caches, embeddings.

Missing earlier hours are brought in first, in ranges; a finished hour is left as it is unless the code changed.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.clock import check_hour
from pipelines.errors import UserError
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.lake.session import spark_session
from pipelines.lake.tables import create_spark_tables
from pipelines.local.code_version import code_version
from pipelines.settings import Settings
from pipelines.steps.embed_items import embed_items
from pipelines.steps.examples import build_examples
from pipelines.steps.ingest import ingest
from pipelines.steps.landing_files import check_complete, frozen_range
from pipelines.steps.pull_objects import pull_objects
from pipelines.steps.state import advance_caches, build_increments
from pipelines.steps.step import Attempt, Outcome, attempt, writer_lock

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SparkStep = Callable[["SparkSession", Attempt], Outcome]
STEP = "build_features"
HOURS_A_PASS = 1000  # of a long log a pass of 7,300 hours and 330,000 records filled the packaged heap


def run(settings: Settings, hour: str, at_most: int | None = None) -> Outcome:
    """Brings the tables up to ``hour``.

    Raises UserError where more than ``at_most`` hours (``lake.max_missing_hours`` without it) are missing, TransientError where one of them
    is not complete.
    """
    check_hour(settings, hour)
    with writer_lock(settings, "spark"):
        pending = _pending(settings, hour, at_most or settings.lake.max_missing_hours)
        if not pending:
            with attempt(settings, STEP, [hour]) as current:
                return current.record("unchanged", "the hour was finished by this code")
        if settings.lake.objects and ledger.frozen(settings, "ingest", pending[-1]) is None:
            pull_objects(settings)  # the marks of complete hours come with them
        for missing in pending:
            check_complete(settings, missing)
        with spark_session(settings) as spark:
            create_spark_tables(spark, settings)
            return _bring_in(spark, settings, pending)


def _pending(settings: Settings, hour: str, at_most: int) -> list[str]:
    """Hours still to do, oldest first: all after the newest finished one, or a finished one that other code made."""
    newest = ledger.newest_hour(settings, STEP)
    if newest is not None and hour <= newest:
        done = ledger.last_done(settings, STEP, hour)
        return [] if done and done.code_version == code_version() else frozen_range(settings, hour_range(hour, hour))
    start = settings.lake.start_hour or hour
    pending = hour_range(shift(newest, 1) if newest else start, hour)
    if len(pending) > at_most:
        raise UserError(
            f"{len(pending)} hours are missing before {hour}, at most {at_most} are brought in by this run; "
            f"run `recloop backfill --from {pending[0]} --to {hour}`"
        )
    return pending


def _bring_in(spark: "SparkSession", settings: Settings, pending: Sequence[str]) -> Outcome:
    left, outcome = list(pending), None
    while left:
        first_load = left[0] == settings.lake.start_hour
        hours = frozen_range(settings, left[:1] if first_load else left[:HOURS_A_PASS])
        outcome = run_steps(spark, settings, hours, ((ingest, "ingest"), *DERIVING, (advance_caches, STEP)))
        left = [hour for hour in left if hour not in hours]
    assert outcome is not None
    return outcome


def run_steps(spark: "SparkSession", settings: Settings, hours: Sequence[str], steps: "Sequence[tuple[SparkStep, str]]") -> Outcome:
    """Each step for these hours in one pass; the last one's outcome."""
    for step, name in steps:
        with attempt(settings, name, hours) as current:
            outcome = step(spark, current)
    return outcome


DERIVING: "Sequence[tuple[SparkStep, str]]" = (
    (build_increments, "build_increments"),
    (build_examples, "build_examples"),
    (embed_items, "embed_items"),
)
