from datetime import UTC, datetime, timedelta

import pytest

from spark_jobs.events import last_states, with_duplicates_marked, with_hour

EIGHT = datetime(2026, 11, 10, 8, tzinfo=UTC)
HELD = (
    "event_id string, request_id string, slate_id string, user_id string, item_id string, position int, ts timestamp, surface string, "
    "query string, context map<string,string>, propensity double, policy_version string, hour string"
)


def shown(event_id, **changes):
    """An impression's fields in the order of HELD."""
    fields = {
        "event_id": event_id, "request_id": "r", "slate_id": None, "user_id": "u", "item_id": "i", "position": 0, "ts": EIGHT,
        "surface": "home", "query": None, "context": {"a": "1", "b": "2"}, "propensity": 0.5, "policy_version": None,
        "hour": "2026-11-10T08",
    }  # fmt: skip
    return tuple((fields | changes).values())


@pytest.fixture
def copies(spark):
    def answer(batch, held=()):
        """``copy`` of each (source_file, line, impression), beside held impressions."""
        events = spark.createDataFrame([(*row, file, line) for file, line, row in batch], f"{HELD}, source_file string, line bigint")
        rows = with_duplicates_marked(events, "impressions", spark.createDataFrame(list(held), HELD)).collect()
        assert len(rows) == len(batch), "no record may be lost or doubled"
        return {(row["source_file"], row["line"]): row["copy"] for row in rows}

    return answer


def test_an_event_belongs_to_its_own_hour_but_never_to_one_that_is_closed(spark):
    hour = timedelta(hours=1)
    expected = {
        EIGHT: "2026-11-10T08", EIGHT + hour - timedelta(microseconds=1): "2026-11-10T08", EIGHT + hour: "2026-11-10T09",
        EIGHT + 2 * hour: "2026-11-10T10", EIGHT - timedelta(microseconds=1): "2026-11-10T08", EIGHT - 400 * 24 * hour: "2026-11-10T08",
    }  # fmt: skip
    frame = spark.createDataFrame([(at, number) for number, at in enumerate(expected)], "ts timestamp, number int")
    rows = with_hour(frame, ["2026-11-10T08", "2026-11-10T09"]).orderBy("number").collect()
    assert [row["hour"] for row in rows] == list(expected.values())


def test_within_a_batch_the_earliest_by_file_and_line_is_kept(copies):
    batch = [
        ("b", 1, shown("x")), ("a", 9, shown("x", position=3)), ("a", 10, shown("x", position=3)), ("c", 1, shown("x", position=3)),
        ("a", 2, shown("alone")),
        ("a", 20, shown("late", hour="2026-11-10T08")), ("a", 21, shown("late", hour="2026-11-10T09")),
    ]  # fmt: skip
    assert copies(batch) == {
        ("a", 9): "first", ("a", 10): "duplicate", ("b", 1): "conflict", ("c", 1): "duplicate", ("a", 2): "first",
        ("a", 20): "first", ("a", 21): "duplicate",
    }  # fmt: skip


def test_an_event_that_is_held_is_never_first(copies):
    held = [shown("x"), shown("y"), shown("unrelated", position=9)]
    batch = [("a", 1, shown("x")), ("a", 2, shown("x", user_id="v")), ("a", 3, shown("y", item_id="j")), ("a", 4, shown("y")),
             ("a", 5, shown("new")), ("a", 6, shown("x", user_id="v"))]  # fmt: skip
    assert copies(batch, held) == {
        ("a", 1): "duplicate", ("a", 2): "conflict", ("a", 3): "conflict", ("a", 4): "duplicate", ("a", 5): "first", ("a", 6): "conflict",
    }  # fmt: skip


def test_every_field_counts_and_the_order_of_a_map_does_not(copies):
    changes = {
        "same": {}, "map in another order": {"context": {"b": "2", "a": "1"}},
        "another map": {"context": {"a": "2", "b": "1"}}, "no map": {"context": None}, "another time": {"ts": EIGHT + timedelta(seconds=1)},
        "another propensity": {"propensity": 0.25}, "no propensity": {"propensity": None}, "a version": {"policy_version": "p"},
        "moved to another field": {"surface": None, "query": "home"}, "request as slate": {"request_id": None, "slate_id": "r"},
    }  # fmt: skip
    batch = [("a", line, shown(name, **change)) for line, (name, change) in enumerate(changes.items())]
    found = copies(batch, [shown(name) for name in changes])
    same = {"same", "map in another order"}
    assert {name: found["a", line] for line, name in enumerate(changes)} == {
        name: "duplicate" if name in same else "conflict" for name in changes
    }


def test_of_an_items_states_in_a_pass_the_last_one_landed_counts(spark):
    rows = [("a", "b.jsonl", line, f"b{line}") for line in range(1, 30)] + [("a", "a.jsonl", 40, "a40"), ("c", "a.jsonl", 1, "c")]
    items = spark.createDataFrame(rows, "item_id string, source_file string, line bigint, title string").repartition(8)
    assert {row["item_id"]: row["title"] for row in last_states(items).collect()} == {"a": "b29", "c": "c"}
