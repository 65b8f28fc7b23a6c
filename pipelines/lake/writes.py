"""Writes by Spark: each checks the contract, carries the hour in its commit, and answers the version it made."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from pipelines.failpoint import failpoint
from pipelines.lake.tables import table_path, table_version
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class ContractError(RuntimeError):
    """A frame that does not have the columns its table's contract promises."""


def in_contract_order(frame: "DataFrame", name: str) -> "DataFrame":
    """The contract's columns, in its order and types. Raises ContractError naming missing and surplus columns."""
    from pyspark.sql import functions as F
    from pyspark.sql.pandas.types import from_arrow_schema

    wanted, found = TABLES[name].schema.names, frame.columns
    missing, surplus = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or surplus:
        raise ContractError(f"table {name}: missing columns {missing}, surplus columns {surplus}; mend the transform")
    types = from_arrow_schema(TABLES[name].schema)
    return frame.select(*[F.col(field.name).cast(field.dataType).alias(field.name) for field in types])


def replace_hours(frame: "DataFrame", settings: Settings, name: str, hours: Sequence[str], step: str) -> int:
    """Replaces the partitions of these hours by the frame in one commit; an hour without rows becomes empty."""
    literal = ", ".join(f"'{hour}'" for hour in hours)
    writer = in_contract_order(frame, name).write.format("delta").mode("overwrite")
    writer = writer.option("replaceWhere", f"hour IN ({literal})").option("userMetadata", _metadata(step, hours))
    writer.save(str(table_path(settings, name)))
    return _committed(settings, name, step)


def append_new(frame: "DataFrame", settings: Settings, name: str, hours: Sequence[str], step: str) -> int:
    """Appends the rows whose key the table does not hold in these hours; what is there is never replaced."""
    from pyspark.sql import functions as F

    path, key = str(table_path(settings, name)), list(TABLES[name].key)
    held = frame.sparkSession.read.format("delta").load(path).where(F.col("hour").isin(list(hours))).select(*key)
    fresh = in_contract_order(frame.join(held, on=key, how="left_anti"), name)
    fresh.write.format("delta").mode("append").option("userMetadata", _metadata(step, hours)).save(path)
    return _committed(settings, name, step)


def overwrite(frame: "DataFrame", settings: Settings, name: str, hours: Sequence[str], step: str) -> int:
    """Replaces the whole table in one commit: readers see the old rows or the new ones, never a mixture."""
    writer = in_contract_order(frame, name).write.format("delta").mode("overwrite")
    writer.option("userMetadata", _metadata(step, hours)).save(str(table_path(settings, name)))
    return _committed(settings, name, step)


def merge_by_key(frame: "DataFrame", settings: Settings, name: str, hours: Sequence[str], step: str) -> int:
    """Updates rows that have the key, inserts the others, in one commit. The frame holds each key once."""
    clauses = "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    return _merge(in_contract_order(frame, name), settings, name, hours, step, clauses)


def replace_changed(
    frame: "DataFrame", settings: Settings, name: str, hours: Sequence[str], step: str, besides: Sequence[str] = ()
) -> int:
    """Makes the table hold what the frame holds, in one commit of what differs: its change feed tells of nothing else.

    Readers see the old rows or the new ones, never a mixture. A row that differs in the columns ``besides`` alone stays as it was. Where
    nothing differs there is no commit, and the version that stands is answered. The frame holds each key once.
    """
    from pyspark.sql import functions as F

    both, same = _beside_held(frame, settings, name, besides), F.col("new").eqNullSafe(F.col("old"))
    stay, differ = both.agg(F.count_if(same), F.count_if(~same)).toArrow().to_pylist()[0].values()
    if not differ:
        return _committed(settings, name, step)
    if not stay:  # as after most roll-backs: an overwrite is faster than a MERGE of all rows, and the feed of both says that all changed
        return overwrite(frame, settings, name, hours, step)
    changes = both.where(~same).withColumn("gone", F.col("new").isNull()).drop("new", "old")
    clauses = "WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
    return _merge(changes, settings, name, hours, step, clauses)


def written_for(settings: Settings, name: str, hours: Sequence[str]) -> bool:
    """Whether the table's newest commit was made for these hours."""
    last: dict[str, object] = DeltaTable(str(table_path(settings, name))).history(1)[0]
    return bool(json.loads(str(last.get("userMetadata") or "{}")).get("hours") == _span(hours))


def _beside_held(frame: "DataFrame", settings: Settings, name: str, besides: Sequence[str]) -> "DataFrame":
    """A row for each key of the frame or the table: the frame's columns, and what is compared of both, ``new`` and ``old``."""
    from pyspark.sql import functions as F

    key = TABLES[name].key
    compared = F.struct(*[column for column in TABLES[name].schema.names if column not in (*key, *besides)])
    held = frame.sparkSession.read.format("delta").load(str(table_path(settings, name)))
    new = in_contract_order(frame, name).withColumn("new", compared)
    return new.join(held.select(*key, compared.alias("old")), on=list(key), how="full_outer")


def _merge(frame: "DataFrame", settings: Settings, name: str, hours: Sequence[str], step: str, clauses: str) -> int:
    spark: SparkSession = frame.sparkSession
    source, key = f"merge_{name}", TABLES[name].key
    frame.createOrReplaceTempView(source)
    spark.conf.set("spark.databricks.delta.commitInfo.userMetadata", _metadata(step, hours))
    condition = " AND ".join(f"t.{column} = s.{column}" for column in key)
    try:
        spark.sql(f"MERGE INTO delta.`{table_path(settings, name)}` t USING {source} s ON {condition} {clauses}")
    finally:
        spark.conf.unset("spark.databricks.delta.commitInfo.userMetadata")
    return _committed(settings, name, step)


def _committed(settings: Settings, name: str, step: str) -> int:
    """The version that the write made: under the root's writer lock it is the table's newest."""
    failpoint(settings, f"{step}:commit:{name}")
    return table_version(settings, name)


def _span(hours: Sequence[str]) -> str:
    return f"{hours[0]}..{hours[-1]}"


def _metadata(step: str, hours: Sequence[str]) -> str:
    from pipelines.local.code_version import code_version

    return json.dumps({"step": step, "hours": _span(hours), "code_version": code_version()})
