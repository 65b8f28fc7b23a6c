"""Landing files to impressions, feedback, items and quarantine: each record once, refused ones kept with their reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipelines.clock import now, wall_clock
from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LandingFile
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.lake.tables import read_frame, read_table, table_version
from pipelines.lake.writes import merge_by_key, replace_hours
from pipelines.settings import Settings
from pipelines.steps.landing_files import frozen_files
from pipelines.steps.pull_topics import pull_topics
from pipelines.steps.step import Attempt, Outcome
from spark_jobs.contracts import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EVENTS = ("impressions", "feedback")


def ingest(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """Takes the hours' files into the source tables.

    Raises UserError where too large a share of records is refused: nothing was written then, and the files are given back to be mended.
    """
    settings, hours = attempt.settings, attempt.hours
    if settings.lake.topics and ledger.frozen(settings, "ingest", hours[-1]) is None:
        with attempt.stage("pull"):
            pull_topics(spark, settings)
    with attempt.stage("freeze"):
        files = frozen_files(attempt)
    with attempt.stage("parse"):
        parsed = _parsed(spark, settings, files, hours)
        counts = _counts(parsed, hours)
    _check_refused_share(attempt, counts)
    with attempt.stage("write"):
        _write(parsed, attempt, counts["refused"])
    carried = tuple(replace(file, after_hour=hours[-1]) for file in files if counts["later"].get(_path(settings, file)))
    figures = {"rows_in": counts["in"], "rows_out": counts["taken"], "rows_refused": counts["refused"], "files": carried}
    if hours[0] != settings.lake.start_hour:
        write_metrics(settings, hours[-1], _lateness(counts["late"]))
    repeated = f"; {counts['duplicate']} exact repeats dropped" if counts["duplicate"] else ""
    unknown = f"; keys left out: {', '.join(sorted(counts['unknown'])[:5])}" if counts["unknown"] else ""
    detail = f"{counts['taken']} records taken, {counts['refused']} refused, from {len(files)} files{repeated}{unknown}"
    return attempt.record("done", detail, **figures)


def _parsed(spark: "SparkSession", settings: Settings, files: list[LandingFile], hours: Sequence[str]) -> "dict[str, DataFrame]":
    """Per kind: typed records with ``hour``, ``reason`` and ``copy``, cached, since four writes read them."""
    from pyspark.sql import functions as F

    from spark_jobs.events import with_duplicates_marked, with_hour
    from spark_jobs.parsing import parse, read_lines

    latest = max(now(settings, hours[-1]), wall_clock()).isoformat()
    parsed = {}
    for kind in sorted({file.kind for file in files}):
        own = [file for file in files if file.kind == kind]
        lines = read_lines(spark, [(_path(settings, f), f.kind) for f in own], settings.lake.max_record_bytes)
        frame = parse(lines, kind, latest).persist()
        if kind in EVENTS:
            frame = with_hour(frame, hours).transform(_without_earlier, settings, own)
            held = read_frame(spark, settings, kind).where(~F.col("hour").isin(list(hours)))
            frame = with_duplicates_marked(frame.where(f"reason IS NULL AND hour <= '{hours[-1]}'"), kind, held).unionByName(
                frame.where(F.col("reason").isNotNull() | (F.col("hour") > hours[-1])).withColumn("copy", F.lit("none"))
            )
            frame = frame.withColumn("reason", F.when(F.col("copy") == "conflict", "duplicate_conflict").otherwise(F.col("reason")))
        else:
            frame = frame.withColumns({"hour": F.lit(hours[0]), "copy": F.lit("first")})  # known to all that is made in this pass
        # not sooner: which record contradicts another one shows only beside the others, and its bytes are kept too
        parsed[kind] = frame.withColumn("raw", F.when(F.col("reason").isNotNull(), F.col("raw"))).persist()
    return parsed


def _without_earlier(frame: "DataFrame", settings: Settings, files: list[LandingFile]) -> "DataFrame":
    """Leaves out what an earlier hour took from a file that holds records of several hours."""
    from pyspark.sql import functions as F

    for file in files:
        if file.after_hour:
            own_hour = F.date_format("ts", "yyyy-MM-dd'T'HH")
            here = F.col("source_file") == _path(settings, file)
            frame = frame.where(~here | (F.col("reason").isNull() & (own_hour > file.after_hour)))
    return frame


def _counts(parsed: "dict[str, DataFrame]", hours: Sequence[str]) -> dict:
    """Records in, taken, refused, duplicate; by reason; files with records of later hours; events by kind and hours late; unknown keys."""
    from pyspark.sql import functions as F

    from spark_jobs.events import hours_late

    total: dict = {"in": 0, "taken": 0, "refused": 0, "duplicate": 0, "reasons": {}, "later": {}, "late": {}, "unknown": set()}
    for kind, frame in parsed.items():
        late = hours_late() if kind in EVENTS else F.lit(0)
        found = frame.withColumns({"is_later": F.col("hour") > hours[-1], "late": late})
        groups = found.groupBy("source_file", "reason", "copy", "is_later", "late")
        unknown = F.array_distinct(F.flatten(F.collect_set("unknown_keys"))).alias("unknown")
        for row in groups.agg(F.count("*").alias("n"), unknown).collect():
            total["unknown"] |= {f"{kind}.{key}" for key in row["unknown"] or ()}
            if row["reason"] is not None:
                total["refused"] += row["n"]
                total["reasons"][row["reason"]] = total["reasons"].get(row["reason"], 0) + row["n"]
            elif row["is_later"]:
                total["later"][row["source_file"]] = row["n"]
                continue
            else:
                total["taken" if row["copy"] == "first" else "duplicate"] += row["n"]
                if row["copy"] == "first" and kind in EVENTS:
                    total["late"].setdefault(kind, Counter())[row["late"]] += row["n"]
            total["in"] += row["n"]
    return total


def _lateness(late: "dict[str, Counter[int]]") -> list[Metric]:
    """Of each kind's events, how many hours after their own hour they were taken: the 50th, 95th and 99th percentile."""
    found = []
    for kind, counts in sorted(late.items()):
        hours = np.repeat(sorted(counts), [counts[key] for key in sorted(counts)])
        for share in (50, 95, 99):
            value = float(np.percentile(hours, share, method="inverted_cdf"))
            found.append(Metric(f"hours_late_p{share}", kind, value, n=len(hours)))
    return found


def _check_refused_share(attempt: Attempt, counts: dict) -> None:
    settings, hours = attempt.settings, attempt.hours
    share = counts["refused"] / max(counts["in"], 1)
    if share > settings.lake.refused_share:
        attempt.record("released", "too many records were refused: the files may be mended")
        top = sorted(counts["reasons"].items(), key=lambda item: -item[1])[:3]
        reasons = ", ".join(f"{reason} {count}" for reason, count in top)
        raise UserError(
            f"hours {hours[0]}..{hours[-1]}: {share:.1%} of {counts['in']} records refused ({reasons}), at most "
            f"{settings.lake.refused_share:.1%} allowed; mend the landing files, or raise lake.refused_share"
        )


def _write(parsed: "dict[str, DataFrame]", attempt: Attempt, refused: int) -> None:
    from pyspark.sql import functions as F

    from spark_jobs.events import last_states

    settings, hours = attempt.settings, attempt.hours
    for kind in EVENTS:
        if kind in parsed:
            kept = parsed[kind].where(F.col("reason").isNull() & (F.col("copy") == "first"))
            frame = kept.select(*TABLES[kind].schema.names)
            attempt.outputs[kind] = replace_hours(frame, settings, kind, hours, "ingest")
        else:
            attempt.outputs[kind] = table_version(settings, kind)
    if "items" in parsed:
        items = last_states(parsed["items"].where("reason IS NULL")).withColumnRenamed("hour", "updated_hour")
        items = items.withColumn("available", F.coalesce("available", F.lit(True)))
        items = items.select(*TABLES["items"].schema.names)
        merge_by_key(items, settings, "items", hours, "ingest")
    attempt.outputs["items"] = table_version(settings, "items")
    attempt.outputs["quarantine"] = _write_quarantine(parsed, settings, hours, refused)


def _write_quarantine(parsed: "dict[str, DataFrame]", settings: Settings, hours: Sequence[str], refused_count: int) -> int:
    """Replaces the hours' refused records; no commit where there are none and were none."""
    from pyspark.sql import functions as F

    from spark_jobs.parsing import REASONS

    sentence = F.create_map(*[F.lit(part) for pair in REASONS.items() for part in pair])
    refused = None
    for frame in parsed.values():
        part = frame.where(F.col("reason").isNotNull()).select("raw", "reason", "source_file", "line")
        refused = part if refused is None else refused.unionByName(part)
    if refused is None or not (refused_count or read_table(settings, "quarantine", hours=hours, columns=["line"]).num_rows):
        return table_version(settings, "quarantine")
    rows = refused.withColumns({"detail": sentence[F.col("reason")], "hour": F.lit(hours[-1])})
    return replace_hours(rows, settings, "quarantine", hours, "ingest")


def _path(settings: Settings, file: LandingFile) -> str:
    return str(settings.landing / file.path)
