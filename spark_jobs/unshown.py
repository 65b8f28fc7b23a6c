"""Training examples of a log that does not say what was shown: what people took to, and items that they never met.

An example depends on its own and on earlier hours alone, so hours made one by one and in one pass give the same.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.rewards import RewardTerm, labels_struct, liked

NEGATIVES_PER_POSITIVE = 4
_POSITIVE = ("event_id", "user_id", "ts", "hour", "drawn_in", "cut")


@dataclass(frozen=True)
class Log:
    """What negatives are drawn from, and what may be known of labels; rows count from their ``hour`` on.

    ``items``: item_id, hour of the catalogue; ``popular``: event_id, item_id, hour of reactions that make an item likelier to be drawn,
    within ``popular_from``: the oldest hour for each ``drawn_in`` of an example; ``met``: user_id, item_id, ts, hour: no negatives within
    ``met_days`` of it; ``observed``: by reaction the first hour that held one.
    """

    items: DataFrame
    popular: DataFrame
    popular_from: Mapping[str, str]
    met: DataFrame
    met_days: int
    observed: Mapping[str, str]


def unshown_examples(reactions: DataFrame, log: Log, terms: Sequence[RewardTerm], seed: int, cut: Column) -> DataFrame:
    """A positive for each reaction with at least half of its full label, ``rated_low`` for the others and for ``hide``, and negatives.

    ``reactions``: event_id, user_id, item_id, ts, hour, drawn_in, type, label; those that the reward does not name give no example.
    ``cut``: up to when features are known. Negatives come by turns from the catalogue and from what is popular (against uniform ones
    alone, popularity would be all that is learned); each is a hash of (event, draw): a rerun draws the same. What the user met long ago
    may be one: without it, every item that was met would look wanted.
    """
    tasks = [term.task for term in terms]
    named = reactions.where(F.col("type").isin([*tasks, "hide"]))
    events = _with_labels(named, terms, log.observed).withColumn("cut", cut).persist()
    positives, low = events.where(liked(terms)), events.where(~liked(terms))
    negatives = _not_met(positives.select(*_POSITIVE), log, seed)
    rank = F.row_number().over(Window.partitionBy("event_id").orderBy("draw"))
    negatives = negatives.withColumn("rank", rank).where(F.col("rank") <= NEGATIVES_PER_POSITIVE)
    drawn = F.substring(F.sha2(F.concat_ws("|", "event_id", "draw"), 256), 1, 32)
    rows = _rows(positives, F.col("event_id"), None, F.col("labels"))
    rows = rows.unionByName(_rows(low, F.col("event_id"), "rated_low", F.col("labels")))
    return rows.unionByName(_rows(negatives, drawn, "sampled", labels_struct({task: F.lit(0.0) for task in tasks})))


def _with_labels(reactions: DataFrame, terms: Sequence[RewardTerm], observed: Mapping[str, str]) -> DataFrame:
    """Adds ``labels``: of each task the largest that the user gave the item in the hour, 0 without one; all 0 for ``hide``.

    A task that the log never held by then is unknown, not 0: it takes the label of the best-paid task that it did hold, so that a log
    of ratings alone teaches clicks too.
    """
    largest = [F.max(F.when(F.col("type") == term.task, F.col("label"))).alias(f"largest_{term.task}") for term in terms]
    by_item = ["user_id", "item_id", "hour"]
    reactions = reactions.join(reactions.groupBy(*by_item).agg(*largest), on=by_item, how="inner")
    found = {term.task: F.coalesce(F.col(f"largest_{term.task}"), F.lit(0.0)) for term in terms}
    held = {term.task: F.lit(observed.get(term.task, "~")) <= F.col("hour") for term in terms}
    share, zero = F.lit(0.0), F.lit(0.0)
    for term in sorted((term for term in terms if term.weight > 0), key=lambda term: term.weight):
        share = F.when(held[term.task], found[term.task] / F.lit(float(term.cap))).otherwise(share)
    labels = {}
    for term in terms:
        unknown = share * F.lit(float(term.cap)) if term.weight > 0 else zero
        known = F.when(held[term.task], found[term.task]).otherwise(unknown)
        labels[term.task] = F.when(F.col("type") == term.task, F.col("label")).when(F.col("type") == "hide", zero).otherwise(known)
    return reactions.withColumn("labels", labels_struct(labels))


def _not_met(positives: DataFrame, log: Log, seed: int) -> DataFrame:
    """Twice as many draws a positive as are wanted, without what the user met: odd ones from the catalogue, even ones from the popular."""
    hours = {row["hour"]: "" for row in positives.select("hour").distinct().collect()}
    from_items = _drawn(positives, log.items, "item_id", _ranges(log.items, hours), "hour", seed, 1)
    from_popular = _drawn(positives, log.popular, "event_id", _ranges(log.popular, log.popular_from), "drawn_in", seed, 0)
    keys = [name for name in (*_POSITIVE, "item_id") if name != "drawn_in"]
    both = from_items.unionByName(from_popular).groupBy(*keys).agg(F.min("draw").alias("draw"))
    names = {"user_id": "met_by", "item_id": "met_item", "ts": "met_at", "hour": "met_hour"}
    met = log.met.select(*[F.col(name).alias(new) for name, new in names.items()])
    apart_s = F.abs(F.unix_micros("ts") - F.unix_micros("met_at")) / 1e6
    known = (F.col("user_id") == F.col("met_by")) & (F.col("item_id") == F.col("met_item")) & (F.col("met_hour") <= F.col("hour"))
    return both.join(met, on=known & (apart_s <= 86400.0 * log.met_days), how="left_anti")


def _drawn(
    positives: DataFrame, pool: DataFrame, order: str, ranges: Sequence[tuple[str, int, int]], key: str, seed: int, parity: int
) -> DataFrame:
    """The positives' draws of this parity, each with an ``item_id`` of the pool; none where the pool is empty then.

    ``ranges``: for each value of ``key`` the pool's rows that may be drawn, numbered by (hour, ``order``), as first row and count.
    """
    numbers = F.array(*[F.lit(n) for n in range(1, 2 * NEGATIVES_PER_POSITIVE + 1) if n % 2 == parity])
    spark = positives.sparkSession
    allowed = spark.createDataFrame(list(ranges), f"{key} string, first int, count int")
    draws = positives.join(F.broadcast(allowed), on=key, how="inner").withColumn("draw", F.explode(numbers))
    number = F.pmod(F.xxhash64("event_id", "draw", F.lit(seed)), F.col("count")).cast("int") + F.col("first")
    numbered = pool.select("item_id", (F.row_number().over(Window.orderBy("hour", order)) - 1).alias("row"))
    return draws.withColumn("row", number).join(F.broadcast(numbered), on="row", how="inner").select(*_POSITIVE, "draw", "item_id")


def _ranges(pool: DataFrame, since: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """For each hour of ``since`` the pool's rows from the named hour up to it, numbered by hour: (hour, first, count), if there are any."""
    counts = sorted((row["hour"], row["count"]) for row in pool.groupBy("hour").count().collect())
    hours, before = [hour for hour, _ in counts], [0, *accumulate(count for _, count in counts)]
    found = [(hour, before[bisect_left(hours, first)], before[bisect_right(hours, hour)]) for hour, first in since.items()]
    return [(hour, first, end - first) for hour, first, end in found if end > first]


def _rows(frame: DataFrame, example_id: Column, source: str | None, labels: Column) -> DataFrame:
    null = F.lit(None).cast("string")
    return frame.select(
        example_id.alias("example_id"), F.lit(0).alias("revision"), "user_id", "item_id", "ts", F.lit(0).alias("position"),
        null.alias("surface"), null.alias("query"), null.alias("slate_id"), F.lit(None).cast("double").alias("propensity"),
        F.lit(source).cast("string").alias("negative_source"), labels.alias("labels"), "hour", "cut",
    )  # fmt: skip
