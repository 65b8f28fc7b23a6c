"""State of users and items: the hours' increments, and the caches that fold them."""

from datetime import timedelta
from typing import TYPE_CHECKING

from pipelines.clock import wall_clock
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.tables import read_frame
from pipelines.lake.writes import merge_by_key, overwrite, replace_hours
from pipelines.steps.step import Attempt, Outcome
from pipelines.steps.step import attempt as following_attempt
from spark_jobs.contracts import TABLES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ENTITIES = {"user_id": ("user_hour", "user_features"), "item_id": ("item_hour", "item_features")}


def hours_of(frame: "DataFrame", attempt: Attempt) -> "DataFrame":
    """Rows of the attempt's hours."""
    from pyspark.sql import functions as F

    return frame.where(F.col("hour").isin(list(attempt.hours)))


def read_input(spark: "SparkSession", attempt: Attempt, table: str, step: str) -> "DataFrame":
    """The table as ``step`` left it for these hours, by the ledger; noted among the attempt's inputs."""
    return read_frame(spark, attempt.settings, table, input_of(attempt, table, step))


def input_of(attempt: Attempt, table: str, step: str) -> int | None:
    """The version that the ledger names, noted among the attempt's inputs; None where it names none."""
    done = ledger.last_done(attempt.settings, step, attempt.hours[-1])
    version = done.outputs.get(table) if done else None
    if version is not None:
        attempt.inputs[table] = version
    return version


def labelled_feedback(spark: "SparkSession", attempt: Attempt, feedback: "DataFrame") -> "DataFrame":
    """Reactions with their label, by the domain's reward definition and the items as known in the reaction's hour."""
    from spark_jobs.rewards import with_label

    return with_label(feedback, read_input(spark, attempt, "items", "ingest"), attempt.settings.reward.terms)


def events(spark: "SparkSession", attempt: Attempt) -> "DataFrame":
    """Every event of the hours with its counters, reward and history weight."""
    from spark_jobs.rewards import feedback_rewards
    from spark_jobs.state import event_deltas

    impressions = hours_of(read_input(spark, attempt, "impressions", "ingest"), attempt)
    feedback = hours_of(read_input(spark, attempt, "feedback", "ingest"), attempt)
    rewards = feedback_rewards(labelled_feedback(spark, attempt, feedback), attempt.settings.reward.terms)
    return event_deltas(impressions, feedback, rewards)


def build_increments(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """user_hour and item_hour of these hours: what each hour added, decayed to the hour's end."""
    from pyspark.sql import functions as F

    from spark_jobs.state import counters_at, history_entries, likers, recent, with_counters

    with attempt.stage("compute and write"):
        found = events(spark, attempt).persist()
        counted, end = with_counters(found), F.to_timestamp(F.concat("hour", F.lit(":00:00Z"))) + F.expr("INTERVAL 1 HOUR")
        users = counters_at(counted, "user_id", end, "hour").join(
            recent(history_entries(found), "hour"), on=["user_id", "hour"], how="left"
        )
        items = counters_at(counted, "item_id", end, "hour").join(likers(found), on=["item_id", "hour"], how="left")
        for key, frame in (("user_id", users), ("item_id", items)):
            table = ENTITIES[key][0]
            rows = frame.withColumn("as_of", end)
            attempt.outputs[table] = replace_hours(rows, attempt.settings, table, attempt.hours, attempt.step)
        found.unpersist()
    return attempt.record("done")


def previous_cache(spark: "SparkSession", attempt: Attempt, key: str) -> "DataFrame":
    """The cache as it was before these hours, by the ledger: a commit that no row names is never built upon.

    Folded from the increments again where that version holds these hours too (one pass made them all), or is too old to be read.
    """
    settings, (increments, cache) = attempt.settings, ENTITIES[key]
    earlier = ledger.newest_done(settings, "build_features", before=attempt.hours[0])
    if earlier is None:
        return read_frame(spark, settings, cache).limit(0)
    too_old = wall_clock() - earlier.ended_at > timedelta(days=TABLES[cache].retention_days - 1)
    if too_old or ledger.pass_end(settings, earlier) >= attempt.hours[0]:
        version = ledger.newest_output(settings, "build_increments", increments)
        return _folded_before(read_frame(spark, settings, increments, version), key, attempt.hours[0])
    attempt.inputs[cache] = earlier.outputs[cache]
    return read_frame(spark, settings, cache, earlier.outputs[cache])


def advance_caches(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """user_features and item_features up to the last hour: advanced by the increments, or refolded after a repair.

    Each hour's row names the caches as of that hour: where newer hours are there, theirs are refolded after it.
    """
    newest, last = ledger.newest_hour(attempt.settings, attempt.step), attempt.hours[-1]
    if newest is None or newest < attempt.hours[0]:
        for key in ENTITIES:
            with attempt.stage(f"fold {key.removesuffix('_id')}s"):
                _advance(spark, attempt, key)
        return attempt.record("done", "advanced")
    outcome = refold_caches(spark, attempt)
    if newest > last:
        with following_attempt(attempt.settings, attempt.step, [newest]) as current:
            outcome = refold_caches(spark, current)
    return outcome


def refold_caches(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """The caches as of the last hour, from the increments of all hours up to it."""
    for key, (increments, cache) in ENTITIES.items():
        with attempt.stage(f"fold {key.removesuffix('_id')}s"):
            attempt.inputs[increments] = ledger.newest_output(attempt.settings, "build_increments", increments)
            deltas = read_frame(spark, attempt.settings, increments, attempt.inputs[increments])
            rows = _folded_before(deltas, key, shift(attempt.hours[-1], 1))
            attempt.outputs[cache] = overwrite(rows, attempt.settings, cache, attempt.hours, attempt.step)
    return attempt.record("done", "refolded from all increments")


def _folded_before(increments: "DataFrame", key: str, hour: str) -> "DataFrame":
    """The cache from the increments of all hours before ``hour``; each row as of its own last one, as advancing leaves it."""
    from pyspark.sql import functions as F

    from spark_jobs.state import folded

    deltas = increments.where(F.col("hour") < hour)
    touched = deltas.groupBy(key).agg(F.max("as_of").alias("cut"))
    return folded(touched, deltas.drop("hour").withColumn("known_from", F.col("as_of")), key)


def _advance(spark: "SparkSession", attempt: Attempt, key: str) -> None:
    from pyspark.sql import functions as F

    from spark_jobs.state import folded

    increments, cache = ENTITIES[key]
    deltas = hours_of(read_input(spark, attempt, increments, "build_increments"), attempt)
    touched = deltas.groupBy(key).agg(F.max("as_of").alias("cut"))
    before = previous_cache(spark, attempt, key).join(touched.select(key), on=key, how="left_semi")
    both = deltas.drop("hour").unionByName(before, allowMissingColumns=True)
    rows = folded(touched, both.withColumn("known_from", F.col("as_of")), key)
    attempt.outputs[cache] = merge_by_key(rows, attempt.settings, cache, attempt.hours, attempt.step)


