"""The fold in memory against increments worked by hand; against Spark's fold in the test of the data half."""

from datetime import timedelta

import pyarrow as pa
import pytest

from pipelines.evaluation.state_fold import StateFold
from pipelines.hours import end_of, parse_hour
from spark_jobs.contracts import MET, TABLES

FIRST, SECOND = "2026-11-10T08", "2026-11-10T09"


def increment(user, hour, clicks=0.0, recent=()):
    entries = [
        {"ts": parse_hour(hour) + timedelta(minutes=minute), "event_id": f"e{minute}", "item_id": item, "weight": weight, "times": 1.0}
        for minute, item, weight in recent
    ]
    counts = {"clicks_1h": clicks, "clicks_24h": clicks, "first_seen": parse_hour(hour) + timedelta(minutes=3)}
    return {"user_id": user, "as_of": end_of(hour), "recent": entries, "hour": hour} | counts


def table(*rows):
    return pa.Table.from_pylist(rows, schema=TABLES["user_hour"].schema)


def test_counters_are_halved_once_a_half_life_and_added():
    fold = StateFold("user_features")
    fold.add(table(increment("u", FIRST, clicks=4.0)))
    fold.add(table(increment("u", SECOND, clicks=1.0), increment("v", SECOND, clicks=2.0)))
    u, v = fold.states(["u", "v"]).to_pylist()
    assert (u["clicks_1h"], v["clicks_1h"]) == (3.0, 2.0)
    assert u["clicks_24h"] == pytest.approx(4 * 2 ** (-1 / 24) + 1)
    assert u["as_of"] == v["as_of"] == end_of(SECOND)
    assert (u["first_seen"], v["first_seen"]) == tuple(parse_hour(hour) + timedelta(minutes=3) for hour in (FIRST, SECOND))


def test_hours_in_another_order_or_in_one_call_give_the_same():
    rows = [increment("u", FIRST, 4.0, [(5, "a", 1.0)]), increment("u", SECOND, 1.0, [(7, "a", 0.2), (9, "b", 0.5)])]
    together, backwards = StateFold("user_features"), StateFold("user_features")
    together.add(table(*rows))
    for row in reversed(rows):
        backwards.add(table(row))
    (one,), (other,) = together.states().to_pylist(), backwards.states().to_pylist()
    assert one.pop("clicks_24h") == pytest.approx(other.pop("clicks_24h"), rel=1e-12)
    assert one == other


def test_an_item_keeps_its_newest_time_its_strongest_reaction_and_its_times_and_the_oldest_items_go():
    fold = StateFold("user_features")
    many = [(n % 60, f"i{n}", 0.1) for n in range(MET)]
    fold.add(table(increment("u", FIRST, recent=many)))
    fold.add(table(increment("u", SECOND, recent=[(1, "i0", 0.05), (2, "new", 1.0)])))
    recent = fold.states(["u"])["recent"].to_pylist()[0]
    assert len(recent) == MET and [entry["item_id"] for entry in recent[-2:]] == ["i0", "new"]
    assert recent[-2]["weight"] == pytest.approx(0.1) and recent[-2]["ts"] == parse_hour(SECOND) + timedelta(minutes=1)
    assert recent[-2]["times"] == 2.0 and recent[-1]["times"] == 1.0
    assert "i60" not in {entry["item_id"] for entry in recent}, "the oldest once i0 was met again"


def test_who_is_unknown_has_zeros_and_no_history():
    fold, at = StateFold("user_features"), end_of(SECOND)
    for known in ((), (increment("u", FIRST, clicks=1.0),)):
        fold.add(table(*known))
        (row,) = fold.states(["nobody"], unknown_as_of=at).to_pylist()
        assert row["recent"] is None and row["first_seen"] is None and row["clicks_1h"] == 0.0 and row["as_of"] == at
    assert "u" in fold and "nobody" not in fold
