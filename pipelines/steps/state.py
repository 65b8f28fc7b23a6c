"""State of users and items: the hours' increments, and the caches that fold them."""

from typing import TYPE_CHECKING

from pipelines.lake import ledger
from pipelines.lake.tables import read_frame
from pipelines.lake.writes import merge_by_key, overwrite, replace_hours
from pipelines.steps.step import Attempt, Outcome

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ENTITIES = {"user_id": ("user_hour", "user_features"), "item_id": ("item_hour", "item_features")}


def hours_of(frame: "DataFrame", attempt: Attempt) -> "DataFrame":
    """Rows of the attempt's hours."""
    from pyspark.sql import functions as F

    return frame.where(F.col("hour").isin(list(attempt.hours)))


def read_input(spark: "SparkSession", attempt: Attempt, table: str, step: str) -> "DataFrame":
    """The table as ``step`` left it for these hours, by the ledger; noted among the attempt's inputs."""
    done = ledger.last_done(attempt.settings, step, attempt.hours[-1])
    version = done.outputs.get(table) if done else None
    if version is not None:
        attempt.inputs[table] = version
    return read_frame(spark, attempt.settings, table, version)


def labelled_feedback(spark: "SparkSession", attempt: Attempt, feedback: "DataFrame") -> "DataFrame":
    """Reactions with their label, by the domain's reward definition and the items as known now."""
    from spark_jobs.items import current_items
    from spark_jobs.rewards import with_label

    items = current_items(read_input(spark, attempt, "items", "ingest"))
    return with_label(feedback, items, attempt.settings.reward.terms)


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

    from spark_jobs.state import counters_at, history_entries, recent, with_counters

    with attempt.stage("compute and write"):
        found = events(spark, attempt).persist()
        counted, end = with_counters(found), F.to_timestamp(F.concat("hour", F.lit(":00:00Z"))) + F.expr("INTERVAL 1 HOUR")
        users = counters_at(counted, "user_id", end, "hour").join(
            recent(history_entries(found), "hour"), on=["user_id", "hour"], how="left"
        )
        for key, frame in (("user_id", users), ("item_id", counters_at(counted, "item_id", end, "hour"))):
            table = ENTITIES[key][0]
            rows = frame.withColumn("as_of", end)
            attempt.outputs[table] = replace_hours(rows, attempt.settings, table, attempt.hours, attempt.step)
        found.unpersist()
    return attempt.record("done")


def previous_cache(spark: "SparkSession", attempt: Attempt, table: str) -> "DataFrame":
    """The cache as it was before these hours, by the ledger: a commit that no row names is never built upon."""
    settings = attempt.settings
    earlier = ledger.newest_done(settings, "build_features", before=attempt.hours[0])
    if earlier is None:
        return read_frame(spark, settings, table).limit(0)
    attempt.inputs[table] = earlier.outputs[table]
    return read_frame(spark, settings, table, earlier.outputs[table])


def advance_caches(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """user_features and item_features up to the last hour: advanced by the increments, or refolded after a repair."""
    newest = ledger.newest_hour(attempt.settings, attempt.step)
    refold = newest is not None and newest >= attempt.hours[0]
    for key in ENTITIES:
        with attempt.stage(f"fold {key.removesuffix('_id')}s"):
            _fold(spark, attempt, key, max(newest or "", attempt.hours[-1]) if refold else None)
    return attempt.record("done", "refolded from all increments" if refold else "advanced")


def _fold(spark: "SparkSession", attempt: Attempt, key: str, refold_to: str | None) -> None:
    from pyspark.sql import functions as F

    from spark_jobs.state import folded

    increments, cache = ENTITIES[key]
    deltas = read_input(spark, attempt, increments, "build_increments")
    deltas = hours_of(deltas, attempt) if refold_to is None else deltas.where(F.col("hour") <= refold_to)
    touched = deltas.groupBy(key).agg(F.max("as_of").alias("cut"))  # each row's own last hour: advancing and refolding agree
    deltas = deltas.drop("hour")
    if refold_to is None:
        deltas = deltas.unionByName(previous_cache(spark, attempt, cache).join(touched.select(key), on=key, how="left_semi"))
    rows = folded(touched, deltas.withColumn("known_from", F.col("as_of")), key)
    write = merge_by_key if refold_to is None else overwrite
    attempt.outputs[cache] = write(rows, attempt.settings, cache, attempt.hours, attempt.step)


