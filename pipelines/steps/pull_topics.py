"""New records of Kafka topics to landing files, by Spark's source. The position is in the name of the file that it was reached by.

A file is written under a name that is no landing file's, then renamed: records and position come to be in one step.
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from pipelines.errors import TransientError
from pipelines.failpoint import failpoint
from pipelines.settings import Settings, Source
from pipelines.steps.topic_errors import explained, unnamed_partitions
from pipelines.steps.topic_identity import check_same_topic
from pipelines.steps.topic_ranges import Range, positions

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

EARLIEST = -2
log = structlog.get_logger()
CONSUMER = {"isolation.level": "read_committed", "default.api.timeout.ms": "20000", "request.timeout.ms": "10000"}


def pull_topics(spark: "SparkSession", settings: Settings) -> None:
    """Lands what the topics hold and no landing file has, in files of at most ``max_records``.

    Raises UserError where the broker dropped records that were not landed yet, TransientError where it does not answer.
    """
    for source in settings.lake.topics:
        folder = settings.landing / source.kind
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)
        starts, full = positions(settings, source), True
        while full:
            landed = _land(spark, settings, source, starts)
            starts |= {found.partition: found.until for found in landed}
            log.info("pull", topic=source.topic, kind=source.kind, ranges=[f"{r.partition}: {r.start}..{r.until - 1}" for r in landed])
            full = source.max_records in landed.values()


def _land(spark: "SparkSession", settings: Settings, source: Source, starts: Mapping[int, int]) -> dict[Range, int]:
    """One more file of each partition that holds more than was landed, and how many records it got."""
    landed, folder = {}, settings.landing / source.kind
    rows, partitions = _written(spark, settings, source, starts)
    if rows:
        begun = {row["partition"]: row["first"] for row in rows} | dict(starts)
        check_same_topic(settings, source, begun, partitions, partial(_records, spark, source, loss="false"))
    for row in rows:
        found = Range(row["partition"], starts.get(row["partition"], row["first"]), row["last"] + 1)
        failpoint(settings, "pull:rename")
        os.replace(row["path"], folder / found.file_name(source))
        landed[found] = row["count"]
    return landed


def _written(
    spark: "SparkSession", settings: Settings, source: Source, starts: Mapping[int, int]
) -> "tuple[Sequence[Row], Collection[int]]":
    """Rows of ``write_files``, and all partitions. The source wants them named: where they are others, its refusal says which."""
    from spark_jobs.topic_records import write_files

    folder, starts = settings.landing / source.kind, dict(starts) or {0: EARLIEST}
    for _ in range(2):
        wanted = json.dumps({source.topic: {str(partition): start for partition, start in sorted(starts.items())}})
        try:
            return write_files(_records(spark, source, wanted), str(folder), source.max_records).collect(), starts.keys()
        except Exception as error:
            unnamed = unnamed_partitions(error, source, set(starts))
            if not unnamed:
                firsts = partial(_first_offsets, spark, source)
                raise explained(error, settings, source, firsts) from error
            starts |= dict.fromkeys(unnamed, EARLIEST)
    raise TransientError(f"topic {source.topic} at {source.brokers} got new partitions while it was read; run again")


def _first_offsets(spark: "SparkSession", source: Source) -> dict[int, int]:
    from spark_jobs.topic_records import first_offsets

    return {row["partition"]: row["offset"] for row in first_offsets(_records(spark, source, "earliest")).collect()}


def _records(spark: "SparkSession", source: Source, begins: str, ends: str = "latest", loss: str = "true") -> "DataFrame":
    """From these offsets up to those; ``loss``: whether it is an error that some of them are gone."""
    consumer = CONSUMER | {key.removeprefix("kafka."): _text(value) for key, value in source.options.items()}
    reader = spark.read.format("kafka").options(**{f"kafka.{key}": value for key, value in consumer.items()})
    reader = reader.option("kafka.bootstrap.servers", source.brokers).option("fetchOffset.numRetries", 1)
    return reader.options(subscribe=source.topic, startingOffsets=begins, endingOffsets=ends, failOnDataLoss=loss).load()


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _remove_unfinished(folder: Path) -> None:
    """What a killed pull left. Whoever holds the writer lock has ended the query that wrote it."""
    from spark_jobs.topic_records import UNFINISHED

    for path in folder.glob(UNFINISHED):
        path.unlink()

