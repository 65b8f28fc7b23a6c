"""Derived tables made again from the sources: increments, examples, embeddings and caches, in ranges of hours.

Sources stay as they are, each record keeps its hour, no slate is drawn, no release moves and no model learns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import hour_range, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import SET_ASIDE
from pipelines.lake.session import spark_session
from pipelines.lake.tables import create_spark_tables, read_table, table_exists, table_path, table_version
from pipelines.settings import Settings
from pipelines.steps.build_features import DERIVING, run_steps
from pipelines.steps.build_features import STEP as CACHES
from pipelines.steps.score_users import REPUBLISH, republish
from pipelines.steps.score_users import STEP as SCORING
from pipelines.steps.state import refold_caches
from pipelines.steps.step import Outcome, attempt, writer_lock

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DERIVED = ("user_hour", "item_hour", "training_examples")
RECOMPUTED = (*DERIVED, "item_embeddings", "query_embeddings", "user_features", "item_features")
REPAIRED_FROM = {**dict.fromkeys(RECOMPUTED, ("impressions", "feedback", "items")), "scores": ("slate_decisions",)}
RANGE_HOURS = 48  # in one pass; a longer one joins more increments with more instants


@dataclass(frozen=True)
class Planned:
    """What would be replaced: a table's rows in the hours (all rows of a cache), and its version now; None where its log is unreadable."""

    table: str
    rows: int | None
    version: int | None

    def __str__(self) -> str:
        if self.rows is None:
            return f"{self.table}: all rows; its log cannot be read"
        return f"{self.table}: {self.rows:,} rows, now version {self.version}"


def hours_to_rebuild(settings: Settings, first: str, last: str | None) -> list[str]:
    """The finished hours from ``first`` to ``last`` (default: the newest). Raises UserError where any was never finished."""
    parse_hour(first)
    newest = ledger.newest_hour(settings, "ingest")
    if newest is None:
        raise UserError(f"nothing was ingested under {settings.home} yet; run `recloop demo` or an hour first")
    hours = hour_range(first, last or newest)
    done = {row.hour for row in ledger.rows(settings, "ingest") if row.status == "done"}
    if not hours or (missing := [hour for hour in hours if hour not in done]):
        found = f"hour {missing[0]} was never ingested" if hours else f"{first} lies after {last or newest}"
        raise UserError(f"{found}; choose hours from {min(done)} to {newest}")
    return hours


def plan(settings: Settings, hours: list[str]) -> list[Planned]:
    """What ``run`` would change, without changing it."""
    parts = [(name, hours) for name in DERIVED] + [(name, None) for name in ("user_features", "item_features")]
    there = [(name, own) for name, own in parts if table_exists(settings, name)]
    return [Planned(name, _count(settings, name, own), table_version(settings, name)) for name, own in there]


def run(settings: Settings, hours: list[str]) -> Outcome:
    """Makes the derived rows of these hours again, oldest first; caches of newer hours are refolded at the end."""
    with writer_lock(settings, "spark"), spark_session(settings) as spark:
        create_spark_tables(spark, settings)
        return _recompute(spark, settings, hours)


def repairable(damaged: Sequence[str]) -> list[str]:
    """Those of the damaged tables that can be made again now: no table that they are made from is damaged itself.

    A reader passes over an empty newest commit in silence: what is made again from such a source would lose rows without a word.
    """
    return [name for name in damaged if name in REPAIRED_FROM and not set(REPAIRED_FROM[name]) & set(damaged)]


def hours_to_repair(settings: Settings) -> list[str]:
    """All finished hours. Raises UserError where the root's first one is not set."""
    if settings.lake.start_hour is None:
        raise UserError("lake.start_hour is not set; set it in recloop.yaml to the root's first hour")
    return hours_to_rebuild(settings, settings.lake.start_hour, None)


def plan_repair(settings: Settings, damaged: Sequence[str]) -> list[Planned]:
    """What ``repair`` would set aside and make again, as far as the logs of the damaged tables still tell."""
    return [_as_logged(settings, name) for name in damaged]


def repair(settings: Settings, damaged: Sequence[str]) -> Outcome:
    """Sets the folders of these repairable tables aside and makes their rows again from all hours; scores from the log of draws."""
    hours = hours_to_repair(settings)
    scored = ledger.newest_done(settings, SCORING, before=shift(hours[-1], 1)) if "scores" in damaged else None
    with writer_lock(settings, "spark"), spark_session(settings) as spark:
        outcome = _set_aside(settings, hours, damaged)
        create_spark_tables(spark, settings)
        if set(damaged) & set(RECOMPUTED):
            outcome = _recompute(spark, settings, hours)
        if scored is not None:
            outcome = run_steps(spark, settings, [scored.hour], [(republish, REPUBLISH)])
    return outcome


def _recompute(spark: "SparkSession", settings: Settings, hours: list[str]) -> Outcome:
    newest = ledger.newest_hour(settings, CACHES) or hours[-1]
    for part in _ranges(settings, hours):
        outcome = run_steps(spark, settings, part, (*DERIVING, (refold_caches, CACHES)))
    if newest > hours[-1]:
        outcome = run_steps(spark, settings, [newest], [(refold_caches, CACHES)])
    return outcome


def _set_aside(settings: Settings, hours: list[str], damaged: Sequence[str]) -> Outcome:
    """Moves the tables' folders to ``damaged/``; the ledger says that their versions begin anew."""
    with attempt(settings, SET_ASIDE, [hours[-1]]) as current:
        folder = settings.home / "damaged" / wall_clock().strftime("%Y-%m-%dT%H-%M-%S")
        folder.mkdir(parents=True)
        for name in damaged:
            if table_exists(settings, name) or table_path(settings, name).exists():
                table_path(settings, name).rename(folder / name)
        current.outputs |= dict.fromkeys(damaged, 0)
        return current.record("done", f"{', '.join(damaged)} set aside in {folder}")


def _ranges(settings: Settings, hours: list[str]) -> list[list[str]]:
    """Passes of at most RANGE_HOURS; the first load is one of its own."""
    alone = 1 if hours[0] == settings.lake.start_hour else 0
    rest = hours[alone:]
    return ([hours[:1]] if alone else []) + [rest[at : at + RANGE_HOURS] for at in range(0, len(rest), RANGE_HOURS)]


def _count(settings: Settings, name: str, hours: list[str] | None) -> int:
    column = read_table(settings, name, hours=hours, columns=["hour" if hours is not None else "as_of"])
    return int(pc.count(column.column(0), mode="all").as_py())


def _as_logged(settings: Settings, name: str) -> Planned:
    """By the log alone: the files themselves may be what is damaged."""
    try:
        table = DeltaTable(str(table_path(settings, name)))
        actions = pa.table(table.get_add_actions(flatten=True))
    except (DeltaError, OSError):
        return Planned(name, None, None)
    return Planned(name, pc.sum(actions["num_records"], min_count=0).as_py(), table.version())
