"""What an example may know of who liked what: everything before its hour, nothing of it or later."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from models.likers import Likers
from pipelines.hours import end_of, hour_range, parse_hour, shift
from pipelines.lake.held import HeldHours
from pipelines.lake.tables import read_table
from pipelines.steps.known_likers import FIRST_LOAD_PARTS, LikersByHour
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import TABLES
from spark_jobs.liker_counts import LikerCounts
from tests.conftest import START

HOURS = hour_range(shift(START, 1), shift(START, 6))
ITEMS = [f"i{n}" for n in range(5)]


@pytest.fixture
def increments(write):
    """Version of an ``item_hour`` in which random items gain and lose in each hour."""
    random, rows = np.random.default_rng(3), []
    for hour in HOURS:
        for item in random.choice([*ITEMS, "gone"], 4, replace=False):
            buckets = np.sort(random.choice(20, 3, replace=False)).tolist()
            likers = [{"bucket": bucket, "amount": int(random.choice([-1, 1, 2]))} for bucket in buckets]
            rows.append({"item_id": item, "as_of": end_of(hour), "likers": likers if random.random() < 0.9 else None, "hour": hour})
    return write("item_hour", rows)


@pytest.fixture
def catalogue():
    items = [{"item_id": name, "updated_hour": START, "title": name, "available": True} for name in ITEMS]
    empty = TABLES["item_embeddings"].schema.empty_table()
    return build_catalogue(pa.Table.from_pylist(items, schema=TABLES["items"].schema), empty, "none")


def dense(likers):
    return likers.matrix.toarray()


def summed(settings, version, hours, catalogue):
    """By a loop."""
    counts = {}
    for row in read_table(settings, "item_hour", version=version).to_pylist():
        for entry in (row["likers"] or []) if row["hour"] in hours and row["item_id"] in ITEMS else []:
            key = 1 + ITEMS.index(row["item_id"]), entry["bucket"]
            counts[key] = counts.get(key, 0) + entry["amount"]
    entries = np.array([(*key, amount) for key, amount in counts.items()], dtype=np.int64).reshape(-1, 3)
    return dense(Likers.of_counts(*entries.T, items=len(ITEMS)))


@pytest.mark.parametrize("known", [False, True])
def test_each_hour_knows_the_hours_before_it_in_whatever_order_they_are_asked_for(settings, increments, catalogue, write, known):
    examples, held = HeldHours(settings, "training_examples", write("training_examples", [])), HeldHours(settings, "item_hour", increments)
    state = None
    if known:
        counts = LikerCounts()
        counts.add(read_table(settings, "item_hour", version=increments).filter(pa.compute.field("hour") <= HOURS[3]))
        column = counts.column(pa.array([*ITEMS, "gone"]), TABLES["item_features"].schema.field("likers").type)
        state = HOURS[3], pa.table({"item_id": [*ITEMS, "gone"], "likers": column})
    likers = LikersByHour(settings, held, examples, state)
    for number in (3, 5, 0, 6, 2, 2, 4, 1):
        hour = shift(HOURS[0], number)
        wanted = summed(settings, increments, HOURS[:number], catalogue)
        np.testing.assert_allclose(dense(likers.before(hour, catalogue)), wanted, atol=1e-6)
    assert wanted.any() and not dense(likers.before(HOURS[0], catalogue)).any()


def test_examples_of_many_hours_see_each_what_was_before_its_own(settings, increments, catalogue, write):
    examples, held = HeldHours(settings, "training_examples", write("training_examples", [])), HeldHours(settings, "item_hour", increments)
    likers = LikersByHour(settings, held, examples)
    known_us = np.array([int(parse_hour(HOURS[n]).timestamp() * 1e6) for n in (4, 1, 4, 2)])
    found = {tuple(rows.tolist()): dense(part) for rows, part in likers.parts(known_us, catalogue)}
    assert set(found) == {(1,), (3,), (0, 2)}
    for rows, number in (((1,), 1), ((3,), 2), ((0, 2), 4)):
        np.testing.assert_allclose(found[rows], summed(settings, increments, HOURS[:number], catalogue), atol=1e-6)


def example(number, user, item, at, label, source):
    return {
        "example_id": f"e{number}", "revision": 0, "user_id": user, "item_id": item, "ts": at, "known_at": at, "position": 0,
        "labels": {"click": label}, "reward": 0.0, "reward_version": "v", "user": {"recent": []}, "item": {}, "negative_source": source,
        "hour": START,
    }  # fmt: skip


@pytest.mark.parametrize("shown", [False, True])
def test_an_example_of_the_first_load_knows_likes_before_its_own_event_alone(settings, increments, catalogue, write, shown):
    """Two items that the same 300 people took to, one after the other; where it is said what was shown, a like is as late as it may be."""
    begin, rows = parse_hour(START) - timedelta(days=400), []
    for n in range(300):
        for k, item in enumerate(ITEMS[:2]):
            rows.append(example(2 * n + k, f"u{n}", item, begin + timedelta(hours=10 * n + k), 1.0, None))
    rows.append(example(999, "u0", ITEMS[2], begin, 0.0, None if shown else "sampled"))
    examples = HeldHours(settings, "training_examples", write("training_examples", rows))
    likers = LikersByHour(settings, HeldHours(settings, "item_hour", increments), examples)
    late_h = max(settings.attribution_h.values()) if shown else 0
    hours = np.array([0, 500, 1500, 2990])
    known_us = np.array([int((begin + timedelta(hours=int(h) + late_h)).timestamp() * 1e6) for h in hours])
    found = {int(row): part for rows, part in likers.parts(known_us, catalogue) for row in rows}
    counts = [found[n].count for n in range(4)]
    assert not counts[0].any(), "its own event and those of the same instant are not known"
    for n, hour in enumerate(hours[1:], start=1):
        both = found[n].matrix[1].multiply(found[n].matrix[2]).sum()
        least, most = hour / 10 - 300 / FIRST_LOAD_PARTS - 1, hour / 10
        assert least * 0.7 < counts[n][1] < most * 1.6, "collisions of buckets add or take some"
        assert both > 0.8 * counts[n][1] and not counts[n][3]


def test_what_is_taken_off_again_leaves_no_trace(settings, increments, catalogue):
    counts, table = LikerCounts(), read_table(settings, "item_hour", version=increments)
    counts.add(table)
    counts.take_off(table)
    column = counts.column(pa.array([*ITEMS, "never"]), TABLES["item_features"].schema.field("likers").type)
    assert column.null_count == len(ITEMS) + 1 and not dense(counts.likers(catalogue)).any()
