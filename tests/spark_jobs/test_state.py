"""State is a fold: whatever the order and grouping of the hours, the result is that of folding all at once."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from spark_jobs.contracts import COUNTERS, MET, TABLES
from spark_jobs.histories import History
from spark_jobs.liker_counts import LikerCounts
from spark_jobs.state import counters_at, counters_before, folded, history_entries, likers, recent, with_counters

START = datetime(2026, 11, 10, 8, tzinfo=UTC)
EVENT = (
    "event_id string, user_id string, item_id string, as_of timestamp, hour string, type string, reward double, weight double, "
    "liked boolean"
)


def events(rows):
    """(minutes after START, user, item, type, reward) as event rows."""
    times = [START + timedelta(minutes=minutes) for minutes, *_ in rows]
    return [
        (f"e{n:04d}", user, item, at, at.strftime("%Y-%m-%dT%H"), kind, reward, reward, reward >= 0.5)
        for n, (at, (_, user, item, kind, reward)) in enumerate(zip(times, rows, strict=True))
    ]


def increments(spark, rows):
    """The hours' increments of users, as build_increments makes them."""
    found = spark.createDataFrame(events(rows), EVENT)
    end = F.to_timestamp(F.concat("hour", F.lit(":00:00Z"))) + F.expr("INTERVAL 1 HOUR")
    history = recent(history_entries(found), "hour")
    users = counters_at(with_counters(found), "user_id", end, "hour").join(history, on=["user_id", "hour"], how="left")
    return users.withColumn("as_of", end).drop("hour")


def stored(spark, frame):
    """The frame as if read from a table: without the plan that made it."""
    return spark.createDataFrame(frame.toArrow())


def fold(spark, deltas, at):
    touched = deltas.select("user_id").distinct().withColumn("cut", F.lit(at))
    return folded(touched, deltas.withColumn("known_from", F.col("as_of")), "user_id")


def test_counters_decay_by_their_half_life(spark):
    deltas = with_counters(spark.createDataFrame(events([(0, "u", "i", "click", 0.5), (60, "u", "j", "impression", 0.0)]), EVENT))
    row = counters_at(deltas, "user_id", F.lit(START + timedelta(hours=24))).first()
    assert row["clicks_1h"] == pytest.approx(2.0**-24)
    assert row["clicks_24h"] == pytest.approx(0.5)
    assert row["clicks_168h"] == pytest.approx(2 ** (-24 / 168))
    assert row["reward_24h"] == pytest.approx(0.25)
    assert row["impressions_24h"] == pytest.approx(2 ** (-23 / 24))
    assert row["purchases_24h"] == 0.0
    assert row["first_seen"] == START.replace(tzinfo=None)


def test_nothing_is_known_before_the_end_of_its_loop_hour(spark):
    deltas = with_counters(spark.createDataFrame(events([(10, "u", "i", "click", 1.0)]), EVENT))
    deltas = deltas.withColumn("known_from", F.lit(START + timedelta(hours=1)))
    cuts = [START + timedelta(minutes=30), START + timedelta(hours=1)]
    needs = spark.createDataFrame([("u", cut) for cut in cuts], "user_id string, cut timestamp")
    before, after = counters_before(needs, deltas, "user_id").orderBy("cut").collect()
    assert before["clicks_24h"] == 0.0 and before["first_seen"] is None
    assert after["clicks_24h"] == pytest.approx(2 ** (-50 / 60 / 24)) and after["first_seen"] is not None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_folding_hour_by_hour_equals_folding_all(spark, seed):
    random = np.random.default_rng(seed)
    kinds = ["impression", "click", "watch", "rating"]
    minutes = sorted(random.integers(0, 240, 150).tolist())
    rows = [(m, f"u{random.integers(4)}", f"i{random.integers(80)}", kinds[random.integers(4)], float(random.random())) for m in minutes]
    deltas, end = stored(spark, increments(spark, rows)), START + timedelta(hours=4)
    whole = {row["user_id"]: row for row in fold(spark, deltas, end).collect()}
    state = None
    for hour in range(4):
        at = START + timedelta(hours=hour + 1)
        own = deltas.where(F.col("as_of") == F.lit(at))
        state = stored(spark, fold(spark, own if state is None else own.unionByName(state), at))
    stepwise = {row["user_id"]: row for row in fold(spark, state, end).collect()}
    assert whole.keys() == stepwise.keys()
    for user, row in whole.items():
        assert [row[name] for name in COUNTERS] == pytest.approx([stepwise[user][name] for name in COUNTERS], abs=1e-9)
        assert row["recent"] == stepwise[user]["recent"]


def test_history_keeps_the_last_items_by_time_and_then_by_event_one_entry_each(spark):
    many = [(n, "u", f"i{n:03d}", "click", 0.1) for n in range(MET + 10)]
    again = [(MET + 10, "u", "i055", "rating", 0.9), (MET + 10, "u", "i056", "click", 0.0)]
    found = spark.createDataFrame(events([*many, *again]), EVENT)
    (row,) = recent(history_entries(found)).collect()
    items = [entry["item_id"] for entry in row["recent"]]
    assert len(items) == len(set(items)) == MET
    assert items[-2:] == ["i055", "i056"] and items[0] == "i010"
    assert {entry["item_id"]: (entry["weight"], entry["times"]) for entry in row["recent"]}["i055"] == (0.9, 2.0)
    assert row["recent"][0]["ts"].astimezone(UTC) == START + timedelta(minutes=10), "the microseconds of the worker are no other instant"


def test_an_item_that_was_dropped_and_is_met_again_counts_anew_in_one_pass_as_hour_by_hour(spark):
    rows = [(0, "u", "dropped", "rating", 0.9), (1, "u", "kept", "rating", 0.8)]
    rows += [(2 + n % 150, "u", f"i{n:03d}", "click", 0.1) for n in range(MET - 1)]
    rows += [(130, "u", "kept", "click", 0.1), (190, "u", "dropped", "click", 0.1), (191, "u", "kept", "click", 0.1)]
    deltas, end = stored(spark, increments(spark, sorted(rows))), START + timedelta(hours=4)
    (whole,) = fold(spark, deltas, end).collect()
    fold_in_memory = History()
    for row in deltas.orderBy("as_of").collect():
        fold_in_memory.add(entry.asDict() for entry in row["recent"])
    found = [entry.asDict() for entry in whole["recent"]]
    assert found == fold_in_memory.entries()
    assert [(entry["item_id"], entry["weight"], entry["times"]) for entry in found[-2:]] == [("dropped", 0.1, 1.0), ("kept", 0.8, 3.0)]


@pytest.mark.parametrize("seed", [0, 1])
def test_likers_of_hours_fold_to_those_of_all_and_count_each_user_once_an_hour(spark, seed):
    random = np.random.default_rng(seed)
    minutes = sorted(random.integers(0, 180, 300).tolist())
    rows = [(m, f"u{random.integers(30)}", f"i{random.integers(4)}", "click", float(random.random())) for m in minutes]
    found = spark.createDataFrame(events(rows), EVENT)
    end = F.to_timestamp(F.concat("hour", F.lit(":00:00Z"))) + F.expr("INTERVAL 1 HOUR")
    hours = stored(spark, likers(found).withColumn("as_of", end))
    counted = hours.withColumn("first_seen", F.col("as_of")).withColumns({name: F.lit(0.0) for name in COUNTERS}).drop("hour")
    whole, state = None, None
    for hour in range(3):
        at, own = START + timedelta(hours=hour + 1), counted.where(F.col("as_of") == F.lit(START + timedelta(hours=hour + 1)))
        for_items = [own if state is None else own.unionByName(state), counted.where(F.col("as_of") <= F.lit(at))]
        touched = [frame.select("item_id").distinct().withColumn("cut", F.lit(at)) for frame in for_items]
        state, whole = (
            stored(spark, folded(of, frame.withColumn("known_from", F.col("as_of")), "item_id"))
            for of, frame in zip(touched, for_items, strict=True)
        )
        assert {row["item_id"]: row["likers"] for row in state.collect()} == {row["item_id"]: row["likers"] for row in whole.collect()}
    once = {(item, user, minute // 60) for minute, user, item, _, reward in rows if reward >= 0.5}
    in_memory = LikerCounts()
    in_memory.add(hours.toArrow())
    kind = TABLES["item_features"].schema.field("likers").type
    for row in whole.collect():
        people = [user for item, user, _ in once if item == row["item_id"]]
        amounts = [entry["amount"] for entry in row["likers"]]
        assert sum(abs(amount) for amount in amounts) <= len(people) and (sum(amounts) - len(people)) % 2 == 0
        assert [entry["bucket"] for entry in row["likers"]] == sorted({entry["bucket"] for entry in row["likers"]})
        assert in_memory.column(pa.array([row["item_id"]]), kind).to_pylist()[0] == [entry.asDict() for entry in row["likers"]]
    alone = spark.createDataFrame(events([(0, "u7", "i", "click", 1.0), (9, "u7", "i", "click", 1.0), (3, "u8", "i", "click", 0.2)]), EVENT)
    ((entry,),) = [row["likers"] for row in likers(alone).collect()]
    assert abs(entry["amount"]) == 1, "one user, twice in the hour; the other did not take to it"
