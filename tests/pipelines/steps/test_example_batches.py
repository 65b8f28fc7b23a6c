"""What is learned from and what judges: folds disjoint, late labels once, replay with final labels and a cap a user-day."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake.held import HeldHours
from pipelines.steps import example_batches
from pipelines.steps.example_batches import ExampleReader
from pipelines.steps.folds import in_gate_fold
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import TABLES

START = "2026-11-10T08"
FIRST, SECOND, THIRD, FOURTH = (shift(START, n) for n in range(1, 5))
USERS = [f"u{n}" for n in range(40)]
TASKS = ("click", "watch")


def example(number, user, hour, arrived=None, revision=0, click=0.0, watch=0.0, before=None):
    """``position`` is the number, by which a row of a batch is known again."""
    start = parse_hour(hour)
    return {
        "example_id": f"e{number}", "revision": revision, "user_id": user, "item_id": "i", "ts": start + timedelta(minutes=5),
        "known_at": start, "position": number, "labels": {"click": click, "watch": watch}, "previous_labels": before, "reward": 0.0,
        "reward_version": "v", "user": {"recent": []}, "item": {}, "hour": arrived or hour,
    }  # fmt: skip


def by_number(hour_index, user_index):
    return 100 * hour_index + user_index


@pytest.fixture
def gate(settings):
    return dict(zip(USERS, in_gate_fold(settings, pa.array(USERS), FOURTH).tolist(), strict=True))


@pytest.fixture
def version(write):
    """Each user saw one item in each of three hours; the first one's click came in the third hour, its watch in the fourth."""
    rows = [example(9_000 + n, user, START, click=1.0) for n, user in enumerate(USERS)]
    for n, user in enumerate(USERS):
        rows += [example(by_number(k, n), user, hour) for k, hour in ((1, FIRST), (2, SECOND), (3, THIRD))]
        late, clicked = by_number(1, n), {"click": 1.0, "watch": 0.0}
        rows.append(example(late, user, FIRST, THIRD, 1, click=1.0, before={"click": 0.0, "watch": 0.0}))
        rows.append(example(late, user, FIRST, FOURTH, 2, click=1.0, watch=0.5, before=clicked))
    return write("training_examples", rows)


@pytest.fixture
def reader(settings, version, nobody_liked):
    def make(examples=version, **ranker):
        own = settings.model_copy(update={"ranker": settings.ranker.model_copy(update=ranker)})
        item = {"item_id": "i", "updated_hour": START, "title": "i", "available": True, "published_at": end_of(START)}
        items = pa.Table.from_pylist([item], schema=TABLES["items"].schema)
        catalogue = build_catalogue(items, TABLES["item_embeddings"].schema.empty_table(), "none")
        return ExampleReader(own, HeldHours(own, "training_examples", examples), catalogue, nobody_liked, ("clicks_24h",), TASKS)

    return make


def numbers(batch):
    return sorted(batch.position.tolist())


def of_users(fold, *hours):
    return sorted(by_number(k, n) for k in hours for n, user in enumerate(USERS) if fold[user])


def test_the_fresh_rows_of_the_folds_are_disjoint_and_everybody_is_in_one(reader, gate):
    learned, judged = (reader().fresh(THIRD, gate=fold) for fold in (False, True))
    assert {gate[user] for user in learned.user_ids.to_pylist()} == {False}
    assert {gate[user] for user in judged.user_ids.to_pylist()} == {True}
    others = {user: not fold for user, fold in gate.items()}
    assert numbers(learned.batch.rows(learned.batch.weight > 0)) == of_users(others, 1, 3)
    assert numbers(judged.batch) == of_users(gate, 1, 3) and (judged.batch.weight == 1).all()
    net = (learned.batch.weight.unsqueeze(1) * learned.batch.labels).sum(0)
    assert net.tolist() == [sum(others.values()), 0.0], "a late click is one positive, net"


def test_one_hours_fold_can_be_left_out_of_all_hours(settings, reader):
    later = shift(THIRD, 24 * settings.gates.fold_days)
    fold = dict(zip(USERS, in_gate_fold(settings, pa.array(USERS), later).tolist(), strict=True))
    assert fold != dict(zip(USERS, in_gate_fold(settings, pa.array(USERS), THIRD).tolist(), strict=True))
    fixed = replace(reader(), fold_hour=later)
    assert {fold[user] for user in fixed.fresh(THIRD, gate=False).user_ids.to_pylist()} == {False}
    assert {fold[user] for user in fixed.window([FIRST, SECOND, THIRD]).judging.user_ids.to_pylist()} == {True}


def test_the_test_then_train_rows_are_the_hours_impressions_of_everybody(reader):
    rows = reader().shown(THIRD)
    assert numbers(rows.batch) == [by_number(3, n) for n in range(len(USERS))]
    assert rows.batch.labels.sum() == 0 and set(rows.hours) == {THIRD}


def test_slices_are_cold_and_warm_users_and_items_and_surfaces(reader):
    start = parse_hour(FIRST)
    met = {"recent": [{"ts": start, "event_id": "e", "item_id": "i", "weight": 1.0, "times": 1.0}]}
    rows = [
        example(n, f"u{n}", FIRST) | {"user": met if n < 3 else {"recent": []}, "item_first_seen": start if n else None, "surface": surface}
        for n, surface in enumerate(["home", "home", "search", None])
    ]
    found = reader().rows(pa.Table.from_pylist(rows, schema=TABLES["training_examples"].schema)).slices()
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "cold users": [False, False, False, True], "warm users": [True, True, True, False], "cold items": [True, False, False, False],
        "warm items": [False, True, True, True], "surface home": [True, True, False, False], "surface search": [False, False, True, False],
    }  # fmt: skip


def test_a_window_judges_by_the_labels_known_at_its_end(reader, gate):
    window = reader().window([FIRST, SECOND, THIRD])
    assert numbers(window.judging.batch) == of_users(gate, 1, 2, 3)
    assert numbers(window.calibrating) == of_users({user: not fold for user, fold in gate.items()}, 1, 2, 3)
    for batch in (window.judging.batch, window.calibrating):
        labels = dict(zip(batch.position.tolist(), batch.labels.tolist(), strict=True))
        assert {tuple(label) for number, label in labels.items() if number < 200} == {(1.0, 0.0)}, "the watch came later"
        assert {tuple(label) for number, label in labels.items() if number >= 200} == {(0.0, 0.0)}
    assert reader().window([FIRST, SECOND]).judging.batch.labels.sum() == 0, "the click came later"


def test_replay_has_final_labels_and_nobody_who_judges(reader, gate):
    batch = reader().replay(FOURTH, 10_000)
    assert numbers(batch) == of_users({user: not fold for user, fold in gate.items()}, 1, 2, 3), "no first load, no gate fold"
    assert {tuple(label) for number, label in zip(batch.position.tolist(), batch.labels.tolist(), strict=True) if number < 200} == {(1, 0)}
    later = reader().replay(shift(FOURTH, 1), 10_000)
    assert later.labels[:, 1].max() == 0.5


def test_what_a_poisoned_hour_said_of_earlier_examples_counts_nowhere(reader):
    held = replace(reader(), poisoned=frozenset([FOURTH]))
    assert held.replay(shift(FOURTH, 1), 10_000).labels[:, 1].max() == 0.0
    assert held.window([FIRST, SECOND, THIRD]).judging.batch.labels[:, 0].sum() > 0, "the click of the third hour stands"


def test_replay_keeps_to_its_size_its_days_and_its_cap_a_user(reader):
    assert numbers(reader().replay(FOURTH, 30)) == numbers(reader().replay(FOURTH, 30))
    assert len(reader().replay(FOURTH, 30)) == 30
    per_user = Counter(number % 100 for number in numbers(reader(replay_per_user_day=2).replay(FOURTH, 10_000)))
    assert set(per_user.values()) == {2}
    assert reader().replay(shift(FOURTH, 24 * 7 + 1), 10_000) is None
    assert reader().replay(FOURTH, 0) is None and reader().replay(FIRST, 10) is None


def test_of_an_hour_with_more_rows_than_may_teach_the_newest_do(settings, reader, write):
    hour = shift(START, 5)
    rows = [example(n, USERS[n % 40], hour) | {"ts": parse_hour(hour) + timedelta(seconds=n // 5)} for n in range(1500)]
    version = write("training_examples", rows)
    taught = replace(reader(rows_an_hour=1002), examples=HeldHours(settings, "training_examples", version))
    found = [rows.batch.position.tolist() for rows in (taught.fresh(hour, gate=True), taught.fresh(hour, gate=False))]
    assert sorted(found[0] + found[1]) == list(range(500, 1500)), "rows of one event stay together"
    assert taught.count([hour]) == 1500
    same = [example(n, USERS[n % 40], shift(hour, 1)) for n in range(1200)]
    version = write("training_examples", same)
    taught = replace(taught, examples=HeldHours(settings, "training_examples", version))
    assert sum(len(taught.fresh(shift(hour, 1), gate).user_ids) for gate in (True, False)) == 1200, "no order: all of them"


def test_what_calibrates_holds_of_every_hour_the_same_share(reader, write, monkeypatch):
    """A busy hour of 1,000 rows and a quiet one of 100."""
    busy, quiet = shift(FOURTH, 1), shift(FOURTH, 2)
    rows = [example(number, f"u{number}", busy) for number in range(1000)]
    rows += [example(1000 + number, f"u{number}", quiet) for number in range(100)]
    monkeypatch.setattr(example_batches, "CALIBRATION_ROWS", 220)
    calibrating = reader(write("training_examples", rows)).window([busy, quiet]).calibrating
    assert sum(number < 1000 for number in numbers(calibrating)) == 200 and len(calibrating) == 220
