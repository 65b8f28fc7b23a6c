"""Maintenance: what is past retention goes, many small files become few, files and log entries that nobody can read any more go.

MLflow's old runs that led to nothing go too. Readers pinned to a version of the last KEPT_HOURS go on; writers of the same root wait
at its lock.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.lake.session import spark_session
from pipelines.lake.tables import table_exists, table_path, table_version
from pipelines.registry.client import RegistryDown
from pipelines.settings import Settings
from pipelines.steps.step import Attempt, Outcome, attempt, writer_lock
from spark_jobs.contracts import TABLES, Table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEP = "maintain_tables"
KEPT_HOURS = 168  # versions that stay readable: the oldest hour whose tables can be read together
FILES_A_PARTITION = 8
LANDING_DAYS = 30


@dataclass(frozen=True)
class Planned:
    """What maintenance would do with a table: rows' hours to drop, partitions to compact; ``landing`` names files, not a table."""

    table: str
    drop_before: str | None
    dropped: int
    compacted: int

    @property
    def any(self) -> bool:
        return bool(self.dropped or self.compacted)


def plan(settings: Settings) -> list[Planned]:
    """For each table, what has to be done now, by the newest finished hour. Raises UserError before there is one."""
    newest = _newest(settings)
    tables = [_plan(settings, table, newest) for table in TABLES.values() if table_exists(settings, table.name)]
    return [*tables, Planned("landing", shift(newest, -24 * LANDING_DAYS), len(_old_landing(settings, newest)), 0)]


def run(settings: Settings) -> Outcome:
    """Does all of it, and says in the ledger what. A killed attempt leaves nothing that the next would not do again."""
    newest = _newest(settings)
    registry = _prune_runs(settings)  # before the lock, for which the hour's steps wait
    with writer_lock(settings, "spark"), attempt(settings, STEP, [newest]) as current:
        planned = [part for part in plan(settings) if part.table in TABLES]
        with spark_session(settings) as spark:
            for part in planned:
                if TABLES[part.table].engine == "spark":
                    with current.stage(part.table):
                        _by_spark(spark, current, part)
        for part in planned:
            if TABLES[part.table].engine != "spark":
                with current.stage(part.table):
                    _by_delta_rs(current, part)
        landing = _old_landing(settings, newest)
        for path in landing:
            path.unlink()
        dropped, compacted = (sum(values) for values in zip(*((p.dropped, p.compacted) for p in planned), strict=True))
        removed = f"{dropped} partitions dropped, {compacted} compacted, {len(landing)} landing files removed"
        return current.record("done", f"{removed}; {registry}; readable since {oldest_readable(settings)}")


def oldest_readable(settings: Settings) -> str:
    """The oldest hour as of which the tables can be read after maintenance."""
    return max(settings.lake.start_hour or "", shift(_newest(settings), -KEPT_HOURS))


def _prune_runs(settings: Settings) -> str:
    """MLflow's part; with MLflow away the tables' part stands, and the next day does both."""
    from pipelines.registry.retention import prune_runs

    try:
        versions, runs = prune_runs(settings, wall_clock() - timedelta(days=settings.mlflow.runs_days))
    except RegistryDown as away:
        return f"MLflow's old runs stay, since {away}"
    return f"{versions} versions and {runs} runs removed from MLflow"


def _newest(settings: Settings) -> str:
    newest = ledger.newest_hour(settings, "build_features")
    if newest is None:
        raise UserError(f"no hour is finished under {settings.home} yet: there is nothing to maintain")
    return newest


def _plan(settings: Settings, table: Table, newest: str) -> Planned:
    files = Counter(_partition(action) for action in _adds(settings, table))
    drop_before = shift(newest, -24 * table.retention_days) if "hour" in table.partition else None
    old = [hour for hour in files if drop_before is not None and hour < drop_before]
    many = [hour for hour, count in files.items() if count > FILES_A_PARTITION and hour not in old]
    return Planned(table.name, drop_before, len(old), len(many))


def _adds(settings: Settings, table: Table) -> list[dict[str, object]]:
    actions: pa.Table = pa.table(DeltaTable(str(table_path(settings, table.name))).get_add_actions(flatten=True))
    return actions.to_pylist()


def _partition(action: dict[str, object]) -> str:
    return str(action.get("partition.hour", ""))


def _by_spark(spark: "SparkSession", current: Attempt, part: Planned) -> None:
    """A DELETE by partition writes no id into the log; a MERGE would rewrite files for nothing."""
    where = f"delta.`{table_path(current.settings, part.table)}`"
    if part.dropped:
        spark.sql(f"DELETE FROM {where} WHERE hour < '{part.drop_before}'").collect()
    if part.compacted:
        spark.sql(f"OPTIMIZE {where}").collect()
    spark.sql(f"VACUUM {where} RETAIN {KEPT_HOURS} HOURS").collect()
    current.outputs[part.table] = table_version(current.settings, part.table)


def _by_delta_rs(current: Attempt, part: Planned) -> None:
    table = DeltaTable(str(table_path(current.settings, part.table)))
    if part.dropped:
        table.delete(f"hour < '{part.drop_before}'")
    if part.compacted:
        table.optimize.compact()
    table.vacuum(KEPT_HOURS, dry_run=False)
    table.create_checkpoint()
    table.cleanup_metadata()
    current.outputs[part.table] = table.version()


def _old_landing(settings: Settings, newest: str) -> Sequence[Path]:
    """Files that finished hours took more than LANDING_DAYS ago; files that still hold records of later hours stay."""
    history = ledger.rows(settings, "ingest")
    oldest = shift(newest, -24 * LANDING_DAYS)
    done = {row.hour: row for row in history if row.status == "done"}
    carried = {file.path for file in done[max(done)].files} if done else set()
    taken = {file.path for hour, row in ledger.still_frozen(history).items() if hour in done and hour < oldest for file in row.files}
    young = (end_of(newest) - timedelta(days=LANDING_DAYS)).timestamp()
    paths = (settings.landing / path for path in sorted(taken - carried))
    return [path for path in paths if path.exists() and path.stat().st_mtime < young]
