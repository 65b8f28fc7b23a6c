"""The forgetting guard: its figures worked by hand, and which rows neither the lineage nor a retrain can have learned from."""

from datetime import timedelta

import pyarrow as pa
import pytest
import torch

from models.ranker import Ranker, RankerConfig
from pipelines.hours import end_of, hour_range, parse_hour, shift
from pipelines.lake.held import HeldHours
from pipelines.steps.example_batches import ExampleReader
from pipelines.steps.folds import in_gate_fold
from pipelines.steps.forgetting import compared
from pipelines.steps.reservoir import reservoir, untouched
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import HISTORY, TABLES
from spark_jobs.ranker_inputs import CROSS

START = "2026-11-10T08"
USERS = [f"u{n}" for n in range(60)]
CUTOFF = shift(START, 24 * 40)
NAMES = ("clicks_24h",)


def example(name, user, hour, click=0.0, counter=0.0, revision=0, arrived=None, source=None):
    start = parse_hour(hour)
    return {
        "example_id": name, "revision": revision, "user_id": user, "item_id": "i", "ts": start + timedelta(minutes=5), "known_at": start,
        "position": 0, "labels": {"click": click}, "previous_labels": {"click": 0.0} if revision else None, "reward": 0.0,
        "reward_version": "v", "user": {"recent": []}, "item": {"clicks_24h": counter}, "negative_source": source, "hour": arrived or hour,
    }  # fmt: skip


@pytest.fixture
def read(settings, write, nobody_liked):
    def make(rows):
        item = {"item_id": "i", "updated_hour": START, "title": "i", "available": True, "published_at": end_of(START)}
        items = pa.Table.from_pylist([item], schema=TABLES["items"].schema)
        catalogue = build_catalogue(items, TABLES["item_embeddings"].schema.empty_table(), "none")
        examples = HeldHours(settings, "training_examples", write("training_examples", rows))
        return ExampleReader(settings, examples, catalogue, nobody_liked, NAMES, ("click",))

    return make


@torch.no_grad()
def by_counter(sign):
    """A ranker that orders items by their counter, upwards or downwards, and by nothing else."""
    ranker = Ranker(RankerConfig(NAMES, NAMES, CROSS, ("click",), "none", text_dim=1, dim=4, history=HISTORY, hidden=8))
    for weight in (ranker.heads.weight, ranker.skip.weight, ranker.skip.bias):
        weight.zero_()
    ranker.skip.weight[0, len(NAMES)] = sign
    return ranker


def test_the_figures_of_the_guard_by_hand(read):
    """Every second user clicks the upper two of four counters: AUC 1 upwards, 0 downwards; the others the outer two: 1/2 either way."""
    clicks = {0: (0, 0, 1, 1), 1: (1, 0, 0, 1)}
    rows = [
        example(f"{user}-{n}", user, CUTOFF, float(click), counter=n + 1.0)
        for number, user in enumerate(USERS) for n, click in enumerate(clicks[number % 2])
    ]  # fmt: skip
    reader = read(rows)
    own = reader.shown(CUTOFF)
    found = {metric.subject: metric for metric in compared(reader, "fresh", own, by_counter(1.0), by_counter(-1.0))}
    up, down = found["lineage"], found["retrain"]
    assert (up.value, down.value) == (pytest.approx(0.75), pytest.approx(0.25)) and up.slice == down.slice == "fresh"
    guard = found["ranker"]
    assert (guard.name, guard.value, guard.n) == ("forgetting_fresh", pytest.approx(0.5), 240)
    half = 2.3263 * 0.5 / 59**0.5  # half of 60 users differ by 1; the gates' 98 %
    assert (guard.low, guard.high) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-4)
    same = {m.subject: m for m in compared(reader, "fresh", own, by_counter(1.0), by_counter(1.0))}["ranker"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_rows_without_both_classes_say_nothing(read):
    reader = read([example(user, user, CUTOFF) for user in USERS])
    assert compared(reader, "fresh", reader.shown(CUTOFF), by_counter(1.0), by_counter(-1.0)) == []
    assert len(reservoir(reader, shift(START, -1)).user_ids) == 0


def test_the_reservoir_is_of_users_whom_nothing_could_learn_from(settings, read):
    """Oracle: in the gate fold in each single hour in which the row could be learned, replayed or corrected."""
    hours = [shift(CUTOFF, -24 * days) for days in (0, 3, 9, 20, 29, 31)]
    reader = read([example(f"{user} {hour}", user, hour) for hour in hours for user in USERS])
    found = reservoir(reader, CUTOFF)
    span = max(24 * settings.ranker.replay_days, settings.reward.horizon_h)
    expected = {
        (user, hour) for hour in hours[:-1]
        for user, kept in zip(USERS, _always(settings, hour_range(hour, min(CUTOFF, shift(hour, span)))), strict=True) if kept
    }  # fmt: skip
    assert set(zip(found.user_ids.to_pylist(), found.hours.tolist(), strict=True)) == expected and len(expected) == len(found.user_ids)
    assert {hour for _, hour in expected} >= {hours[0]}
    assert 0 < untouched(settings, pa.chunked_array([USERS]), hours[0], CUTOFF).sum() < len(USERS)


def _always(settings, hours):
    folds = [in_gate_fold(settings, pa.array(USERS), hour) for hour in hours]
    return [all(fold[n] for fold in folds) for n in range(len(USERS))]


@pytest.mark.parametrize("source", ["sampled", "rated_low"])
def test_the_reservoir_has_the_labels_known_at_the_cut_off_and_keeps_to_its_size(settings, read, source):
    hour, later = shift(CUTOFF, -3), shift(CUTOFF, 1)
    rows = [example(user, user, hour) for user in USERS]
    rows += [example(user, user, hour, 1.0, revision=1, arrived=shift(hour, 1)) for user in USERS[::2]]
    rows += [example(user, user, hour, 1.0, revision=1, arrived=later) for user in USERS[1::2]]
    rows += [example(f"s{user}", user, shift(hour, 2), source=source) for user in USERS]
    reader = read(rows)
    found = reservoir(reader, CUTOFF)
    labels = dict(zip(found.user_ids.to_pylist(), found.batch.labels[:, 0].tolist(), strict=True))
    assert set(labels) == {user for user, kept in zip(USERS, in_gate_fold(settings, pa.array(USERS), CUTOFF), strict=True) if kept}
    assert labels == {user: float(USERS.index(user) % 2 == 0) for user in labels}, "what came after the cut-off is not known"
    assert set(found.hours) == {hour}, "what nobody was shown judges nothing"
    fewer = reservoir(reader, CUTOFF, at_most=9)
    assert len(fewer.user_ids) == 3 and set(fewer.user_ids.to_pylist()) < set(labels), "9 rows over 3 hours"
