"""State as a fold of increments: decayed counters and reaction histories, as known before any instant.

A *delta* is (id, as_of, first_seen, one amount per counter): what had happened up to ``as_of``, decayed to it, and since when.
Raw events, hourly increments and the caches are all deltas, and adding them is associative and commutative; so incremental = rebuilt.
(Histories of more than MET items are added in the order in which they became known.)
``known_from`` is the instant from which a delta may be used: the end of the loop hour that brought it, never event time.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DoubleType, LongType, StringType, StructField, StructType

from models.likers import BUCKETS
from spark_jobs.contracts import COUNTED, COUNTERS, HALF_LIVES_H, MET
from spark_jobs.histories import in_order

_HISTORY_ENTRY = ("ts", "event_id", "item_id", "weight", "times")
_ENTRIES = ArrayType(
    StructType([
        StructField("ts", LongType()), StructField("event_id", StringType()), StructField("item_id", StringType()),
        StructField("weight", DoubleType()), StructField("times", DoubleType()),
    ])
)  # fmt: skip


def event_deltas(impressions: DataFrame, feedback: DataFrame, rewards: DataFrame) -> DataFrame:
    """One row an event: user_id, item_id, as_of, hour, type, reward, the weight of its entry in the user's history, and liked.

    ``rewards``: event_id, reward, weight, liked for each feedback row (see ``rewards.feedback_rewards``).
    """
    shown = impressions.select(
        "event_id", "user_id", "item_id", F.col("ts").alias("as_of"), "hour", F.lit("impression").alias("type"),
        F.lit(0.0).alias("reward"), F.lit(0.0).alias("weight"), F.lit(False).alias("liked"),
    )  # fmt: skip
    reacted = feedback.join(rewards, on="event_id", how="inner").select(
        "event_id", "user_id", "item_id", F.col("ts").alias("as_of"), "hour", "type", "reward", "weight", "liked"
    )
    return shown.unionByName(reacted)


def with_counters(events: DataFrame) -> DataFrame:
    """Events as deltas: amount 1 for the event's own type and the reward's amount, the same under each half-life, and ``first_seen``."""
    amounts = {f"{name}_{h}h": _amount(name) for name in COUNTED for h in HALF_LIVES_H}
    return events.withColumns(amounts | {"first_seen": F.col("as_of")})


def counters_at(deltas: DataFrame, key: str, at: Column, *by: str) -> DataFrame:
    """Sum of the deltas of each ``key`` (and ``by``), decayed from their ``as_of`` to the instant ``at``, and the first of all."""
    sums = [total.alias(name) for name, total in _decayed_sums()]
    return _with_decay(deltas, at).groupBy(key, *by).agg(_first_seen(), *sums)


def counters_before(needs: DataFrame, deltas: DataFrame, key: str) -> DataFrame:
    """For each (key, cut) of ``needs``: its counters as known at ``cut``, decayed to it; zeros, and no ``first_seen``, for nothing."""
    parts = deltas.select(F.col(key).alias("delta_key"), "as_of", "known_from", "first_seen", *COUNTERS)
    known = needs.join(parts, on=(needs[key] == parts["delta_key"]) & (parts["known_from"] <= needs["cut"]), how="left")
    sums = [F.coalesce(total, F.lit(0.0)).alias(name) for name, total in _decayed_sums()]
    return _with_decay(known, F.col("cut")).groupBy(key, "cut").agg(_first_seen(), *sums)


def history_entries(events: DataFrame) -> DataFrame:
    """One row a reaction: user_id and the fields of a history entry."""
    reactions = events.where("type <> 'impression'").withColumnRenamed("as_of", "ts").withColumn("times", F.lit(1.0))
    return reactions.select("user_id", *_HISTORY_ENTRY, *[name for name in ("hour", "known_from") if name in reactions.columns])


def unfolded_history(states: DataFrame) -> DataFrame:
    """The entries that a table's ``recent`` column holds, one row each, known from the state's ``as_of``."""
    exploded = states.select("user_id", F.col("as_of").alias("known_from"), F.explode("recent").alias("entry"))
    return exploded.select("user_id", "known_from", *[F.col(f"entry.{name}").alias(name) for name in _HISTORY_ENTRY])


def recent(entries: DataFrame, *by: str) -> DataFrame:
    """The last MET items of each user (and ``by``) as ``recent``, oldest first by (ts, event_id); one entry an item.

    An item keeps its newest time, its strongest reaction and how many there were (``times``). That is the same in any order as long as
    nothing is dropped; where something is, entries are added in the order of ``known_from`` (all at once without that column).
    """
    keys = ["user_id", *by]
    last, part = F.max(F.struct("ts", "event_id")).alias("last"), F.struct(*_part(entries)).alias("part")
    per_item = entries.withColumn("part", part).groupBy(*keys, "item_id").agg(
        last, F.max("weight").alias("weight"), F.sum("times").alias("times"), F.collect_list("part").alias("parts")
    )
    entry = F.struct("last.ts", "last.event_id", "item_id", "weight", "times")
    all_items = per_item.groupBy(*keys).agg(
        F.array_sort(F.collect_list(entry)).alias("recent"), F.flatten(F.collect_list("parts")).alias("parts")
    )
    fold = F.udf(lambda parts: None if parts is None else in_order(part.asDict() for part in parts), _ENTRIES)
    ordered = fold(F.when(F.size("recent") > MET, F.col("parts")))
    dropped = F.transform(ordered, lambda entry: entry.withField("ts", F.timestamp_micros(entry["ts"])))
    return all_items.withColumn("recent", F.coalesce(dropped, "recent")).drop("parts")


def _part(entries: DataFrame) -> list[Column]:
    """Fields of an entry as ``histories.in_order`` takes them: instants as microseconds, which no time zone can move."""
    known = F.unix_micros("known_from") if "known_from" in entries.columns else F.lit(0)
    kept = [F.col(name) for name in _HISTORY_ENTRY if name != "ts"]
    return [known.alias("known_from"), F.unix_micros("ts").alias("ts"), *kept]


def recent_before(needs: DataFrame, entries: DataFrame) -> DataFrame:
    """For each (user_id, cut) of ``needs`` that knows anything: the history as known at ``cut``."""
    parts = entries.withColumnRenamed("user_id", "entry_user")
    known = needs.join(parts, on=(needs["user_id"] == parts["entry_user"]) & (parts["known_from"] <= needs["cut"]), how="inner")
    return recent(known.select("user_id", "cut", "known_from", *_HISTORY_ENTRY), "cut")


def likers(events: DataFrame) -> DataFrame:
    """item_id, hour and ``likers``: who took to the item in the hour, each user once, by bucket and sign of a hash (models/likers.py)."""
    people = events.where("liked").select("item_id", "hour", "user_id").distinct()
    hashed = F.xxhash64("user_id")
    sign = F.when(F.shiftrightunsigned(hashed, 32) % 2 == 0, 1).otherwise(-1)
    entries = people.withColumns({"bucket": F.pmod(hashed, F.lit(BUCKETS)).cast("int"), "amount": sign})
    return _likers_summed(entries, "item_id", "hour")


def likers_before(needs: DataFrame, deltas: DataFrame) -> DataFrame:
    """For each (item_id, cut) of ``needs`` that anybody took to: ``likers`` as known at ``cut``."""
    parts = deltas.select(F.col("item_id").alias("liked_item"), "known_from", F.explode("likers").alias("entry"))
    known = needs.join(parts, on=(needs["item_id"] == parts["liked_item"]) & (parts["known_from"] <= needs["cut"]), how="inner")
    return _likers_summed(known.select("item_id", "cut", "entry.bucket", "entry.amount"), "item_id", "cut")


def _likers_summed(entries: DataFrame, *keys: str) -> DataFrame:
    summed = entries.groupBy(*keys, "bucket").agg(F.sum("amount").cast("int").alias("amount")).where("amount <> 0")
    return summed.groupBy(*keys).agg(F.array_sort(F.collect_list(F.struct("bucket", "amount"))).alias("likers"))


def folded(touched: DataFrame, deltas: DataFrame, key: str) -> DataFrame:
    """The cache rows of the ``touched`` (key, cut): counters and history of users, counters and likers of items, as of ``cut``."""
    more = recent_before(touched, unfolded_history(deltas)) if key == "user_id" else likers_before(touched, deltas)
    return counters_before(touched, deltas, key).join(more, on=[key, "cut"], how="left").withColumnRenamed("cut", "as_of")


def _first_seen() -> Column:
    return F.min("first_seen").alias("first_seen")


def _amount(name: str) -> Column:
    if name == "reward":
        return F.col("reward")
    return F.when(F.col("type") == name.removesuffix("s"), 1.0).otherwise(0.0)


def _with_decay(deltas: DataFrame, at: Column) -> DataFrame:
    """Adds what is left at ``at`` of an amount of ``as_of``, by half-life; once a row, not once a counter."""
    age_s = (F.unix_micros(at) - F.unix_micros(F.col("as_of"))) / 1e6
    return deltas.withColumns({f"left_{half_life}h": F.pow(F.lit(2.0), -age_s / (3600.0 * half_life)) for half_life in HALF_LIVES_H})


def _decayed_sums() -> list[tuple[str, Column]]:
    names = [(f"{name}_{half_life}h", f"left_{half_life}h") for name in COUNTED for half_life in HALF_LIVES_H]
    return [(name, F.sum(F.col(name) * F.col(left))) for name, left in names]
