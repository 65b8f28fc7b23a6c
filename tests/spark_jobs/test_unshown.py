"""Examples of a log that does not say what was shown, on logs whose examples are known by hand."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import functions as F

from pipelines.settings import RewardTermSettings
from spark_jobs.unshown import NEGATIVES_PER_POSITIVE, Log, unshown_examples

START = datetime(2026, 11, 10, 8, tzinfo=UTC)
REACTIONS = "event_id string, user_id string, item_id string, ts timestamp, type string, label double, hour string"
RATINGS = tuple(
    RewardTermSettings(task=task, weight=weight, cap=1.0) for task, weight in (("click", 0.2), ("watch", 1.0), ("rating", 0.5))
)
SHOP = tuple(RewardTermSettings(task=task, weight=weight, cap=1.0) for task, weight in (("click", 0.1), ("cart", 0.3), ("purchase", 1.0)))


def reaction(number, user, item, kind="rating", label=1.0, hour="h1"):
    return (f"{user}-{item}-{kind}-{number}", user, item, START + timedelta(minutes=number), kind, label, hour)


def examples(spark, rows, terms, items=40, hours=("h1",), since="h1", met_days=365):
    """Examples of the rows in ``hours``; every row of these and earlier hours is met, and popular from ``since`` on."""
    log = spark.createDataFrame(rows, REACTIONS).withColumn("drawn_in", F.col("hour"))
    own = log.where(F.col("hour").isin(list(hours)))
    known = log.where(F.col("hour") <= hours[-1])
    first = {row["type"]: row["hour"] for row in known.groupBy("type").agg(F.min("hour").alias("hour")).collect()}
    catalogue = [(f"i{n:02d}", "h1" if n < 30 else "h2") for n in range(items)]
    pool = spark.createDataFrame([row for row in catalogue if row[1] <= hours[-1]], "item_id string, hour string")
    lake = Log(pool, known, dict.fromkeys(hours, since), known, met_days, first)
    return unshown_examples(own, lake, terms, 7, F.lit(START)).collect()


def labels(rows, source=None):
    return {row["example_id"]: row["labels"].asDict() for row in rows if row["negative_source"] == source}


def test_a_log_of_ratings_gives_positives_low_ratings_and_items_never_met(spark):
    users = {"u1": [f"i{n:02d}" for n in range(12)], "u2": ["i00", "i01"]}
    met = [(user, item, 1.0 if number % 3 else 0.0) for user, items in users.items() for number, item in enumerate(items)]
    rows = [reaction(n, user, item, label=label) for n, (user, item, label) in enumerate(met)]
    once, found = (examples(spark, rows, RATINGS) for _ in range(2))
    assert sorted(map(str, once)) == sorted(map(str, found))
    pairs = {source: {(r["user_id"], r["item_id"]) for r in found if r["negative_source"] == source} for source in (None, "rated_low")}
    assert pairs[None] == {(u, i) for u, i, label in met if label}
    assert pairs["rated_low"] == {(u, i) for u, i, label in met if not label}
    sampled = [r for r in found if r["negative_source"] == "sampled"]
    assert not {(r["user_id"], r["item_id"]) for r in sampled} & {(u, i) for u, i, _ in met}
    positives = sum(1 for _, _, label in met if label)
    assert positives < len(sampled) <= NEGATIVES_PER_POSITIVE * positives
    moment = {(r["user_id"], r["ts"]) for r in found if r["negative_source"] is None}
    per_positive = Counter((r["user_id"], r["ts"]) for r in sampled)
    assert len(moment) == positives and set(per_positive) <= moment and max(per_positive.values()) <= NEGATIVES_PER_POSITIVE
    assert len({(r["user_id"], r["ts"], r["item_id"]) for r in sampled}) == len(sampled)
    assert len({r["example_id"] for r in found}) == len(found)
    assert all(r["labels"]["click"] == r["labels"]["watch"] == (1.0 if r["negative_source"] is None else 0.0) for r in found)


def test_a_click_is_no_purchase_where_the_log_holds_purchases(spark):
    did = (("i00", "click"), ("i01", "click"), ("i01", "purchase"), ("i02", "view"))
    rows = [reaction(number, "u", item, kind) for number, (item, kind) in enumerate(did, start=1)]
    found = labels(examples(spark, rows, SHOP))
    assert {name: [own[task] for task in ("click", "cart", "purchase")] for name, own in found.items()} == {
        "u-i00-click-1": [1.0, 0.0, 0.0], "u-i01-click-2": [1.0, 1.0, 1.0], "u-i01-purchase-3": [1.0, 1.0, 1.0],
    }  # fmt: skip


@pytest.mark.parametrize("in_reward", [False, True])
def test_what_was_hidden_is_no_positive_and_a_watch_counts_by_its_half(spark, in_reward):
    hide = (RewardTermSettings(task="hide", weight=-1.0, cap=1.0),) if in_reward else ()
    rows = [reaction(n, "u", f"i{n:02d}", "watch", share) for n, share in enumerate((0.9, 0.5, 0.4))] + [reaction(9, "u", "i09", "hide")]
    found = examples(spark, rows, (RATINGS[1], *hide))
    assert {name: own["watch"] for name, own in labels(found).items()} == {"u-i00-watch-0": 0.9, "u-i01-watch-1": 0.5}
    low = labels(found, "rated_low")
    assert {name: own["watch"] for name, own in low.items()} == {"u-i02-watch-2": 0.4, "u-i09-hide-9": 0.0}
    assert low["u-i09-hide-9"]["hide"] == (1.0 if in_reward else None)


def test_hours_one_by_one_and_in_one_pass_give_the_same(spark):
    kinds = ("click", "purchase", "click", "cart")
    rows = [reaction(n, f"u{n % 3}", f"i{n * 7 % 40:02d}", kinds[n % 4], hour=f"h{1 + n // 20}") for n in range(60)]
    together = examples(spark, rows, SHOP, hours=("h1", "h2", "h3"))
    alone = [row for hour in ("h1", "h2", "h3") for row in examples(spark, rows, SHOP, hours=(hour,))]
    assert sorted(map(str, alone)) == sorted(map(str, together)) and len(together) > 200


def test_a_thousand_hours_in_one_pass(spark):
    hours = [f"h{n:04d}" for n in range(1500)]
    rows = [reaction(n, f"u{n % 50}", f"i{n % 30:02d}", "click", hour=hour) for n, hour in enumerate(hours)]
    found = examples(spark, rows, SHOP, hours=hours, met_days=1)
    assert Counter(row["negative_source"] for row in found)[None] == 1500


def test_what_was_met_long_ago_may_be_a_negative_and_what_was_met_lately_is_none(spark):
    """The user met all 30 items in h1, and one of them again in h2, forty days later."""
    rows = [reaction(n, "u", f"i{n:02d}", "click") for n in range(30)] + [reaction(40 * 1440, "u", "i07", "click", hour="h2")]
    assert [row for row in examples(spark, rows, SHOP, items=30, hours=("h2",)) if row["negative_source"]] == []
    again = [row["item_id"] for row in examples(spark, rows, SHOP, items=30, hours=("h2",), met_days=30) if row["negative_source"]]
    assert 1 <= len(again) <= NEGATIVES_PER_POSITIVE and "i07" not in again


def test_what_was_popular_before_the_window_is_drawn_from_the_catalogue_alone(spark):
    rows = [reaction(n, f"u{n}", "i00", "click") for n in range(200)]
    rows += [reaction(20_000 + n, f"v{n}", "i01", "click", hour="h2") for n in range(40)]
    counts = {
        since: Counter(r["item_id"] for r in examples(spark, rows, SHOP, items=30, hours=("h2",), since=since) if r["negative_source"])
        for since in ("h1", "h2")
    }
    assert counts["h1"]["i00"] > 30 > 12 > counts["h2"]["i00"], "of 160 draws half are by popularity, which is all i00, or all i01"
