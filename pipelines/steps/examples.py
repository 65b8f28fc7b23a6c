"""Training examples of the hours, with features as known before each hour, and revisions for feedback that came late."""

from typing import TYPE_CHECKING

from pipelines.hours import shift
from pipelines.lake.tables import read_frame
from pipelines.lake.writes import replace_hours
from pipelines.steps.state import ENTITIES, events, hours_of, labelled_feedback, previous_cache, read_input
from pipelines.steps.step import Attempt, Outcome

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SLATE_LOG_HOURS = 48


def build_examples(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """Writes the examples of these hours; the first load's come from its ratings, with sampled negatives."""
    from spark_jobs.contracts import TABLES

    settings = attempt.settings
    with attempt.stage("compute"):
        if attempt.hours[0] == settings.lake.start_hour:
            frame = _first_load(spark, attempt)
        else:
            frame = _shown(spark, attempt)
        frame = frame.select(*TABLES["training_examples"].schema.names)
    with attempt.stage("write"):
        version = replace_hours(frame, settings, "training_examples", attempt.hours, attempt.step)
    attempt.outputs["training_examples"] = version
    return attempt.record("done", **_counts(spark, attempt, version))


def _shown(spark: "SparkSession", attempt: Attempt) -> "DataFrame":
    from pyspark.sql import functions as F

    from spark_jobs.examples import attributed, labels_per_example, late_revisions, shown_examples

    settings, tasks = attempt.settings, attempt.settings.reward.tasks
    impressions = read_input(spark, attempt, "impressions", "ingest")
    feedback = hours_of(read_input(spark, attempt, "feedback", "ingest"), attempt)
    earliest = shift(attempt.hours[0], -int(max(settings.attribution_h.values())) - 1)
    recent = impressions.where((F.col("hour") >= earliest) & (F.col("hour") <= attempt.hours[-1]))
    credited = attributed(labelled_feedback(spark, attempt, feedback), recent, settings.attribution_h)
    reactions = labels_per_example(credited, tasks).persist()
    log = read_frame(spark, settings, "slate_log").where(F.col("hour") >= shift(attempt.hours[0], -SLATE_LOG_HOURS))
    new = shown_examples(hours_of(impressions, attempt), reactions, tasks, log)
    fresh = _with_features(spark, attempt, new).transform(_finished, attempt).persist()
    earlier = read_frame(spark, settings, "training_examples")
    earlier = earlier.where((F.col("hour") >= earliest) & (F.col("hour") < attempt.hours[0]))
    late = reactions.where("hour > example_hour")
    revised = late_revisions(late, earlier.unionByName(fresh), tasks).transform(_rewarded, attempt)
    return fresh.unionByName(revised)


def _first_load(spark: "SparkSession", attempt: Attempt) -> "DataFrame":
    from pyspark.sql import functions as F

    from spark_jobs.examples import first_load_examples, with_features
    from spark_jobs.items import current_items
    from spark_jobs.state import counters_before, history_entries, recent_before, with_counters

    settings = attempt.settings
    feedback = hours_of(read_input(spark, attempt, "feedback", "ingest"), attempt)
    ratings = labelled_feedback(spark, attempt, feedback)
    items = current_items(read_input(spark, attempt, "items", "ingest"))
    examples = first_load_examples(ratings, items, settings.reward.tasks, settings.seed).persist()

    found = events(spark, attempt).withColumn("known_from", F.col("as_of") + F.expr("INTERVAL 1 MICROSECOND"))
    deltas = with_counters(found).persist()
    users = examples.select("user_id", "cut").distinct()
    cuts = examples.select("item_id", "cut").distinct()
    joined = with_features(
        examples,
        counters_before(users, deltas, "user_id"),
        recent_before(users, history_entries(found)),
        counters_before(cuts, deltas, "item_id"),
    )
    return joined.transform(_finished, attempt)


def _with_features(spark: "SparkSession", attempt: Attempt, examples: "DataFrame") -> "DataFrame":
    """Features as known at each example's ``cut``: the caches before these hours plus the increments since."""
    from pyspark.sql import functions as F

    from spark_jobs.examples import with_features
    from spark_jobs.state import counters_before, recent_before, unfolded_history

    deltas = {}
    for key, (increments, cache) in ENTITIES.items():
        since = hours_of(read_input(spark, attempt, increments, "build_increments"), attempt).drop("hour")
        both = previous_cache(spark, attempt, cache).unionByName(since)
        deltas[key] = both.withColumn("known_from", F.col("as_of"))
    users, items = (examples.select(key, "cut").distinct() for key in ENTITIES)
    histories = recent_before(users, unfolded_history(deltas["user_id"]))
    user_counters = counters_before(users, deltas["user_id"], "user_id")
    return with_features(examples, user_counters, histories, counters_before(items, deltas["item_id"], "item_id"))


def _finished(examples: "DataFrame", attempt: Attempt) -> "DataFrame":
    from spark_jobs.examples import no_previous_labels

    return examples.withColumn("previous_labels", no_previous_labels()).transform(_rewarded, attempt)


def _rewarded(examples: "DataFrame", attempt: Attempt) -> "DataFrame":
    from spark_jobs.examples import with_reward

    return with_reward(examples, attempt.settings.reward.terms, attempt.settings.reward.version)


def _counts(spark: "SparkSession", attempt: Attempt, version: int) -> dict:
    """Rows written, and how many lack a propensity, by reason."""
    from pyspark.sql import functions as F

    written = hours_of(read_frame(spark, attempt.settings, "training_examples", version), attempt)
    row = written.agg(
        F.count("*").alias("n"),
        F.count_if(F.col("revision") > 0).alias("late"),
        F.count_if(F.col("propensity").isNull() & F.col("negative_source").isNull()).alias("bare"),
        F.count_if(F.col("negative_source").isNotNull()).alias("sampled"),
    ).first()
    assert row is not None
    detail = f"{row['n']} examples: {row['late']} late revisions, {row['sampled']} sampled, {row['bare']} without propensity"
    return {"rows_out": row["n"], "detail": detail}
