"""Training examples of the hours, with features as known before each hour, and revisions for feedback that came late."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.hours import shift
from pipelines.lake.tables import read_frame
from pipelines.lake.writes import replace_hours
from pipelines.steps.state import ENTITIES, events, hours_of, labelled_feedback, previous_cache, read_input
from pipelines.steps.step import Attempt, Outcome

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

SLATE_LOG_HOURS = 48
FIRST_LOAD_REACTIONS = 100_000  # the newest; more would take long and teach about tastes of long ago
POPULAR_HOURS = 168  # in which a reaction makes its item likelier to be sampled as a negative


def build_examples(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """Writes the examples of these hours: of what was shown; of what people did where the log never says what was shown."""
    from spark_jobs.contracts import TABLES

    settings = attempt.settings
    with attempt.stage("compute"):
        build = _first_load if attempt.hours[0] == settings.lake.start_hour else _after
        frame = build(spark, attempt).select(*TABLES["training_examples"].schema.names)
    with attempt.stage("write"):
        version = replace_hours(frame, settings, "training_examples", attempt.hours, attempt.step)
    attempt.outputs["training_examples"] = version
    return attempt.record("done", **_counts(spark, attempt, version))


def _shown(spark: "SparkSession", attempt: Attempt) -> "DataFrame":
    from pyspark.sql import functions as F

    from spark_jobs.examples import attributed, labels_per_example, only_keys_of, shown_examples

    settings, tasks = attempt.settings, attempt.settings.reward.tasks
    impressions = read_input(spark, attempt, "impressions", "ingest")
    feedback = hours_of(read_input(spark, attempt, "feedback", "ingest"), attempt)
    recent = impressions.where((F.col("hour") >= _earliest(attempt)) & (F.col("hour") <= attempt.hours[-1]))
    recent = only_keys_of(recent, feedback, "user_id", "item_id")
    credited = attributed(labelled_feedback(spark, attempt, feedback), recent, settings.attribution_h)
    reactions = labels_per_example(credited, tasks).persist()
    log = read_frame(spark, settings, "slate_log").where(F.col("hour") >= shift(attempt.hours[0], -SLATE_LOG_HOURS))
    shown = hours_of(impressions, attempt)
    new = shown_examples(shown, reactions, tasks, only_keys_of(log, shown, "slate_id"))
    return _complete(spark, attempt, new).unionByName(_revised(spark, attempt, reactions, new))


def _revised(spark: "SparkSession", attempt: Attempt, reactions: "DataFrame", new: "DataFrame") -> "DataFrame":
    """Revisions of what was shown in earlier hours, or earlier within these hours, and got feedback later."""
    from pyspark.sql import functions as F

    from spark_jobs.contracts import TABLES
    from spark_jobs.examples import last_revisions, late_revisions, only_keys_of

    late = reactions.where("hour > example_hour").persist()
    hours = [row["example_hour"] for row in late.select("example_hour").distinct().collect()]
    held = read_frame(spark, attempt.settings, "training_examples").where(F.col("hour") < attempt.hours[0])
    shown = only_keys_of(held.where(F.col("hour").isin(hours) & (F.col("revision") == 0)), late, "example_id")
    if len(attempt.hours) > 1:
        shown = shown.unionByName(_complete(spark, attempt, only_keys_of(new, late, "example_id")))
    revisions = held.where((F.col("hour") >= _earliest(attempt)) & (F.col("revision") > 0)).select("example_id", "revision", "labels")
    examples = last_revisions(shown, only_keys_of(revisions, late, "example_id"))
    revised = late_revisions(late, examples, attempt.settings.reward.tasks).transform(_rewarded, attempt)
    return revised.select(*TABLES["training_examples"].schema.names)


def _earliest(attempt: Attempt) -> str:
    """The oldest hour whose impressions a reaction of these hours may be credited to."""
    return shift(attempt.hours[0], -int(max(attempt.settings.attribution_h.values())) - 1)


def _after(spark: "SparkSession", attempt: Attempt) -> "DataFrame":
    """Examples of what was shown; in hours before the log's first impression, of reactions with sampled negatives."""
    from pyspark.sql import functions as F

    from spark_jobs.examples import hour_start

    impressions = read_input(spark, attempt, "impressions", "ingest").where(F.col("hour") <= attempt.hours[-1])
    row = impressions.agg(F.min("hour").alias("hour")).first()
    first_shown = row["hour"] if row and row["hour"] else "~"
    silent = [hour for hour in attempt.hours if hour < first_shown]
    if not silent:
        return _shown(spark, attempt)
    sampled = _complete(spark, attempt, _sampled(spark, attempt, silent, hour_start()))
    return sampled if len(silent) == len(attempt.hours) else sampled.unionByName(_shown(spark, attempt))


def _sampled(
    spark: "SparkSession", attempt: Attempt, hours: Sequence[str], cut: "Column", at_most: int | None = None
) -> "DataFrame":
    """Examples of these hours' reactions, of the newest ``at_most`` where that is given."""
    from pyspark.sql import functions as F

    from spark_jobs.examples import only_keys_of
    from spark_jobs.unshown import Log, unshown_examples

    settings = attempt.settings
    feedback = read_input(spark, attempt, "feedback", "ingest").where(F.col("hour") <= hours[-1])
    # the first load is one hour of the loop and months of the log: there only the clock of its events tells what was popular when
    first_load, event_hour = F.col("hour") == F.lit(settings.lake.start_hour), F.date_format("ts", "yyyy-MM-dd'T'HH")
    feedback = feedback.withColumn("drawn_in", F.when(first_load, event_hour).otherwise(F.col("hour")))
    reactions = labelled_feedback(spark, attempt, feedback.where(F.col("hour").isin(list(hours))))
    if at_most is not None:
        reactions = reactions.orderBy(F.desc("ts"), "event_id").limit(at_most)
    reactions = reactions.persist()
    items = read_input(spark, attempt, "items", "ingest").where(F.col("updated_hour") <= hours[-1])
    items = items.groupBy("item_id").agg(F.min("updated_hour").alias("hour"))
    drawn_in = sorted(row["drawn_in"] for row in reactions.select("drawn_in").distinct().collect())
    popular_from = {hour: shift(hour, -POPULAR_HOURS) for hour in drawn_in}
    popular = feedback.where(F.col("drawn_in") >= min(popular_from.values(), default="~"))
    popular = popular.select("event_id", "item_id", F.col("drawn_in").alias("hour"))
    observed = {row["type"]: row["hour"] for row in feedback.groupBy("type").agg(F.min("hour").alias("hour")).collect()}
    met, met_days = only_keys_of(feedback, reactions, "user_id"), max(settings.slates.seen_days, 1)
    log = Log(items, popular, popular_from, met, met_days, observed)
    return unshown_examples(reactions, log, settings.reward.terms, settings.seed, cut).persist()


def _first_load(spark: "SparkSession", attempt: Attempt) -> "DataFrame":
    from pyspark.sql import functions as F

    from spark_jobs.examples import with_features
    from spark_jobs.state import counters_before, history_entries, recent_before, with_counters

    examples = _sampled(spark, attempt, attempt.hours, F.col("ts"), FIRST_LOAD_REACTIONS)
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


def _complete(spark: "SparkSession", attempt: Attempt, examples: "DataFrame") -> "DataFrame":
    """Finished rows, with features as known at each one's ``cut``: the caches before these hours plus the increments since."""
    from pyspark.sql import functions as F

    from spark_jobs.contracts import TABLES
    from spark_jobs.examples import with_features
    from spark_jobs.state import counters_before, recent_before, unfolded_history

    examples, deltas = examples.persist(), {}  # narrow rows, with which five parts of the plan begin
    for key, (increments, _) in ENTITIES.items():
        since = hours_of(read_input(spark, attempt, increments, "build_increments"), attempt).drop("hour")
        both = previous_cache(spark, attempt, key).unionByName(since, allowMissingColumns=True)
        deltas[key] = both.withColumn("known_from", F.col("as_of"))
    users, items = (examples.select(key, "cut").distinct() for key in ENTITIES)
    histories = recent_before(users, unfolded_history(deltas["user_id"]))
    user_counters = counters_before(users, deltas["user_id"], "user_id")
    joined = with_features(examples, user_counters, histories, counters_before(items, deltas["item_id"], "item_id"))
    return joined.transform(_finished, attempt).select(*TABLES["training_examples"].schema.names)


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
