"""Training examples of a log that does not say what was shown: what people took to, and items that they never met.

An example depends on its own and on earlier hours alone, so hours made one by one and in one pass give the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.rewards import RewardTerm, labels_struct

NEGATIVES_PER_POSITIVE = 4


@dataclass(frozen=True)
class Log:
    """What negatives are drawn from, and what may be known of labels; each row with the ``hour`` from which on it counts.

    ``items``: item_id of the catalogue; ``popular``: reactions (event_id, item_id) that make an item more likely to be drawn;
    ``popular_from``: for each hour of examples the oldest hour whose reactions do; ``met``: user_id, item_id that are no negatives;
    ``observed``: by reaction the first hour that held one.
    """

    items: DataFrame
    popular: DataFrame
    popular_from: Mapping[str, str]
    met: DataFrame
    observed: Mapping[str, str]


def unshown_examples(reactions: DataFrame, log: Log, terms: Sequence[RewardTerm], seed: int, cut: Column) -> DataFrame:
    """A positive for each reaction with at least half of its full label, ``rated_low`` for the others and for ``hide``, and negatives.

    ``reactions``: event_id, user_id, item_id, ts, hour, type, label; those that the reward does not name give no example. ``cut``: up
    to when features are known. Negatives come by turns from the catalogue and from what is popular (against uniform ones alone,
    popularity would be all that is learned); each is a hash of (event, draw): a rerun draws the same.
    """
    tasks = [term.task for term in terms]
    named = reactions.where(F.col("type").isin([*tasks, "hide"]))
    events = _with_labels(named, terms, log.observed).withColumn("cut", cut).persist()
    positive = F.lit(False)
    for term in (term for term in terms if term.weight > 0):
        positive = F.when(F.col("type") == term.task, F.col("label") >= term.cap / 2).otherwise(positive)
    positives, low = events.where(positive), events.where(~positive)
    negatives = _never_met(positives.select("event_id", "user_id", "ts", "hour", "cut"), log, seed)
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


def _never_met(positives: DataFrame, log: Log, seed: int) -> DataFrame:
    """Twice as many draws a positive as are wanted, without what the user met: odd ones from the catalogue, even ones from the popular."""
    everything = dict.fromkeys(log.popular_from, "")
    drawn = []
    for pool, order, parity, since in ((log.items, "item_id", 1, everything), (log.popular, "event_id", 0, log.popular_from)):
        numbers = F.array(*[F.lit(n) for n in range(1, 2 * NEGATIVES_PER_POSITIVE + 1) if n % 2 == parity])
        draws = positives.withColumn("draw", F.explode(numbers))
        draws = draws.withColumn("row", _row_in(pool, since, F.xxhash64("event_id", "draw", F.lit(seed))))
        numbered = pool.select("item_id", (F.row_number().over(Window.orderBy("hour", order)) - 1).alias("row"))
        drawn.append(draws.join(F.broadcast(numbered), on="row", how="inner").drop("row"))
    both = drawn[0].unionByName(drawn[1]).groupBy("event_id", "user_id", "item_id", "ts", "hour", "cut").agg(F.min("draw").alias("draw"))
    met = log.met.groupBy(F.col("user_id").alias("met_by"), F.col("item_id").alias("met_item")).agg(F.min("hour").alias("met_hour"))
    known = (F.col("user_id") == F.col("met_by")) & (F.col("item_id") == F.col("met_item")) & (F.col("met_hour") <= F.col("hour"))
    return both.join(met, on=known, how="left_anti")


def _row_in(pool: DataFrame, since: Mapping[str, str], number: Column) -> Column:
    """A row of the pool, numbered by hour, among those from the ``since`` of the draw's hour up to that hour; null: there is none."""
    counts = {row["hour"]: row["count"] for row in pool.groupBy("hour").count().collect()}
    found = F.lit(None).cast("int")
    for hour, first in since.items():
        skipped = sum(count for other, count in counts.items() if other < first)
        if size := sum(count for other, count in counts.items() if first <= other <= hour):
            found = F.when(F.col("hour") == hour, F.pmod(number, F.lit(size)).cast("int") + skipped).otherwise(found)
    return found


def _rows(frame: DataFrame, example_id: Column, source: str | None, labels: Column) -> DataFrame:
    null = F.lit(None).cast("string")
    return frame.select(
        example_id.alias("example_id"), F.lit(0).alias("revision"), "user_id", "item_id", "ts", F.lit(0).alias("position"),
        null.alias("surface"), null.alias("slate_id"), F.lit(None).cast("double").alias("propensity"),
        F.lit(source).cast("string").alias("negative_source"), labels.alias("labels"), "hour", "cut",
    )  # fmt: skip
