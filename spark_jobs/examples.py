"""Training examples: what was shown, what was known before its hour, and what people did with it."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from spark_jobs.contracts import COUNTERS, HISTORY
from spark_jobs.embeddings import QUERY_CHARACTERS
from spark_jobs.rewards import RewardTerm, labels_struct, reward_of


def only_keys_of(large: DataFrame, small: DataFrame, *keys: str) -> DataFrame:
    """Rows of ``large`` whose keys the ``small`` frame has, which is broadcast: the hour's rows meet history without a shuffle of it."""
    return large.join(F.broadcast(small.select(*keys).distinct()), on=list(keys), how="left_semi")


def search_text(query: Column) -> Column:
    """What was searched for, as ``query_embeddings`` names it: see ``spark_jobs.embeddings.search_text``."""
    return F.nullif(F.substring(F.trim(F.regexp_replace(query, "[ \\t\\r\\n]+", " ")), 1, QUERY_CHARACTERS), F.lit(""))


def hour_start() -> Column:
    """The beginning of the row's ``hour``."""
    return F.to_timestamp(F.concat("hour", F.lit(":00:00Z")))


def attributed(feedback: DataFrame, impressions: DataFrame, windows_h: Mapping[str, float]) -> DataFrame:
    """Each reaction with the one impression it credits: the same request, else the latest earlier one in the window.

    Adds ``example_id`` (null: no impression, features only), ``example_hour`` and ``rule`` (request, window, none).
    """
    window_s = F.lit(0.0)
    for reaction, hours in windows_h.items():
        window_s = F.when(F.col("type") == reaction, hours * 3600.0).otherwise(window_s)
    shown = impressions.select(
        "user_id", "item_id", F.col("event_id").alias("example_id"), F.col("hour").alias("example_hour"),
        F.col("ts").alias("shown_at"), F.col("request_id").alias("shown_request"),
    )  # fmt: skip
    pairs = feedback.join(shown, on=["user_id", "item_id"], how="left")
    delay_s = (F.unix_micros("ts") - F.unix_micros("shown_at")) / 1e6
    same = F.coalesce(F.col("request_id") == F.col("shown_request"), F.lit(False))
    near = F.coalesce((delay_s >= 0) & (delay_s <= window_s), F.lit(False))
    rule = F.when(near & same, "request").when(near, "window").otherwise("none")
    ranked = pairs.withColumn("rule", rule).withColumn("best", F.row_number().over(_best_first()))
    credited = F.col("rule") != "none"
    return ranked.where("best = 1").withColumns(
        {"example_id": F.when(credited, F.col("example_id")), "example_hour": F.when(credited, F.col("example_hour"))}
    ).drop("best", "shown_at", "shown_request")


def _best_first() -> WindowSpec:
    order = F.when(F.col("rule") == "request", 0).when(F.col("rule") == "window", 1).otherwise(2)
    return Window.partitionBy("event_id").orderBy(order, F.desc("shown_at"), "example_id")


def labels_per_example(credited: DataFrame, tasks: Sequence[str]) -> DataFrame:
    """One row an impression and arrival hour of its reactions: the largest label of each task."""
    largest = [F.max(F.when(F.col("type") == task, F.col("label"))).alias(task) for task in tasks]
    found = credited.where(F.col("example_id").isNotNull())
    return found.groupBy("example_id", "example_hour", "hour").agg(*largest)


def shown_examples(impressions: DataFrame, reactions: DataFrame, tasks: Sequence[str], propensities: DataFrame) -> DataFrame:
    """Revision 0 of each impression of the hour; tasks without a reaction are 0. Propensity from the slate log, never defaulted."""
    own = reactions.where("hour = example_hour").select(F.col("example_id").alias("event_id"), *tasks)
    joined = impressions.join(own, on="event_id", how="left")
    logged = propensities.select("slate_id", "position", "item_id", F.col("propensity").alias("logged"))
    joined = joined.join(logged, on=["slate_id", "position", "item_id"], how="left")
    return joined.select(
        F.col("event_id").alias("example_id"), F.lit(0).alias("revision"), "user_id", "item_id", "ts", "position", "surface",
        search_text(F.col("query")).alias("query"), "slate_id", F.coalesce("propensity", "logged").alias("propensity"),
        F.lit(None).cast("string").alias("negative_source"),
        labels_struct({task: F.coalesce(F.col(task), F.lit(0.0)) for task in tasks}).alias("labels"), "hour",
        hour_start().alias("cut"),
    )  # fmt: skip


def last_revisions(examples: DataFrame, revisions: DataFrame) -> DataFrame:
    """Revision 0 rows with the number and labels of their newest revision: its features are those of revision 0.

    ``revisions``: example_id, revision, labels of all later revisions so far.
    """
    newest = revisions.groupBy("example_id").agg(F.max_by(F.struct("revision", "labels"), "revision").alias("newest"))
    joined = examples.join(newest, on="example_id", how="left")
    newer = {name: F.coalesce(F.col(f"newest.{name}"), F.col(name)) for name in ("revision", "labels")}
    return joined.withColumns(newer).drop("newest")


def late_revisions(reactions: DataFrame, examples: DataFrame, tasks: Sequence[str]) -> DataFrame:
    """Revision r + 1 of examples that got feedback after their hour: features of revision 0, new labels and the previous ones.

    ``reactions``: rows of ``labels_per_example`` that arrived later than the example; ``examples``: the last revision of each.
    """
    joined = examples.drop("hour", "previous_labels").join(reactions.drop("example_hour"), on="example_id", how="inner")
    by_hour = Window.partitionBy("example_id").orderBy("hour")
    before = by_hour.rowsBetween(Window.unboundedPreceding, -1)
    so_far = by_hour.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    old = {task: _largest(F.col(f"labels.{task}"), F.max(task).over(before)) for task in tasks}
    new = {task: _largest(F.col(f"labels.{task}"), F.max(task).over(so_far)) for task in tasks}
    both = joined.withColumns({"previous_labels": labels_struct(old), "new_labels": labels_struct(new)})
    changed = F.when(F.col("new_labels") != F.col("previous_labels"), 1).otherwise(0)
    both = both.withColumn("changed", changed)
    revision = (F.col("revision") + F.sum("changed").over(so_far)).cast("int")
    revised = both.withColumn("revision", revision).where("changed = 1")
    return revised.drop("labels", "changed", *tasks).withColumnRenamed("new_labels", "labels")


def _largest(label: Column, later: Column) -> Column:
    return F.greatest(F.coalesce(label, F.lit(0.0)), F.coalesce(later, F.lit(0.0)))


def with_features(examples: DataFrame, users: DataFrame, histories: DataFrame, items: DataFrame) -> DataFrame:
    """Joins what was known before ``cut``: user counters and newest history, item counters and since when, when the user met the item."""
    user = users.select("user_id", "cut", *[F.col(name).alias(f"user_{name}") for name in COUNTERS])
    item = items.select("item_id", "cut", F.struct(*COUNTERS).alias("item"), F.col("first_seen").alias("item_first_seen"))
    joined = examples.join(user, on=["user_id", "cut"], how="left").join(histories, on=["user_id", "cut"], how="left")
    fields = [F.col(f"user_{name}").alias(name) for name in COUNTERS]
    newest = F.slice("recent", -F.least(F.lit(HISTORY), F.size("recent")), HISTORY)
    known = F.transform(newest, lambda entry: F.struct(*[entry[name].alias(name) for name in ("ts", "item_id", "weight")]))
    own = F.get(F.filter("recent", lambda entry: entry["item_id"] == F.col("item_id")), F.lit(0))
    met = F.when(own.isNotNull(), F.struct(own["ts"].alias("ts"), own["times"].alias("times")))
    joined = joined.withColumn("user", F.struct(*fields, known.alias("recent"))).withColumn("met", met)
    return joined.join(item, on=["item_id", "cut"], how="left").withColumnRenamed("cut", "known_at")


def with_reward(examples: DataFrame, terms: Sequence[RewardTerm], version: str) -> DataFrame:
    """Adds ``reward`` of the labels and the version of the definition that gave it."""
    return examples.withColumns({"reward": reward_of("labels", terms), "reward_version": F.lit(version)})


def no_previous_labels() -> Column:
    """A null ``previous_labels`` for revision 0."""
    return F.when(F.lit(False), labels_struct({}))
