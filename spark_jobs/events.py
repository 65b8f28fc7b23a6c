"""Parsed records to the hour they belong to, each event once."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.contracts import TABLES
from spark_jobs.examples import only_keys_of


def with_hour(frame: DataFrame, hours: Sequence[str]) -> DataFrame:
    """``hour`` = the event's own, but never before the first hour still open: late events join that one."""
    own = F.date_format("ts", "yyyy-MM-dd'T'HH")
    return frame.withColumn("hour", F.greatest(own, F.lit(hours[0])))


def hours_late() -> Column:
    """Whole hours from an event's own hour to the one that took it."""
    taken = F.unix_timestamp(F.to_timestamp(F.concat("hour", F.lit(":00:00Z"))))
    return F.floor((taken - F.unix_timestamp(F.date_trunc("hour", "ts"))) / 3600)


def with_duplicates_marked(events: DataFrame, table: str, held: DataFrame) -> DataFrame:
    """Adds ``copy``: ``first`` (kept), ``duplicate`` (same payload, dropped) or ``conflict`` (other payload, refused).

    The first is the earliest by (source_file, line); an event that ``held`` already has is never first.
    """
    order = Window.partitionBy("event_id").orderBy("source_file", "line")
    marked = events.withColumn("payload", _payload(table)).withColumn("rank", F.row_number().over(order))
    marked = marked.withColumn("first_payload", F.first("payload").over(order))
    known = only_keys_of(held, events, "event_id")
    earlier = known.select("event_id", _payload(table).alias("held_payload"))
    joined = marked.join(earlier, on="event_id", how="left")
    reference = F.coalesce("held_payload", "first_payload")
    is_first = F.col("held_payload").isNull() & (F.col("rank") == 1)
    copy = F.when(is_first, "first").when(F.col("payload") == reference, "duplicate").otherwise("conflict")
    return joined.withColumn("copy", copy).drop("payload", "rank", "first_payload", "held_payload")


def last_states(items: DataFrame) -> DataFrame:
    """Of each item's records the last one by (source_file, line)."""
    newest = Window.partitionBy("item_id").orderBy(F.desc("source_file"), F.desc("line"))
    return items.withColumn("newest", F.row_number().over(newest)).where("newest = 1").drop("newest")


def _payload(table: str) -> Column:
    """Hash of what the producer said: every contract column but the hour, maps as sorted entries.

    xxhash64 passes over nulls: without saying which columns are null, a value in another column would hash the same.
    """
    fields = [f for f in TABLES[table].schema if f.name not in ("hour", "event_id")]
    values = [F.array_sort(F.map_entries(f.name)) if "map" in str(f.type) else F.col(f.name) for f in fields]
    return F.xxhash64(*values, *[F.isnull(f.name) for f in fields])
