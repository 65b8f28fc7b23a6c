"""Likeness by who liked what, against a loop over dense rows."""

import numpy as np
import pytest

from models.likers import BUCKETS, LATELY, SMOOTHING, Likers

LIKED_BY = {1: [1, 2, 3, 4], 2: [2, 3, 4], 3: [9]}  # item: people, each in a bucket of their own
ROW, PERSON = (np.array(part) for part in zip(*[(item, person) for item, people in LIKED_BY.items() for person in people], strict=True))


@pytest.fixture
def likers():
    return Likers.of_counts(ROW, PERSON, np.ones(len(ROW), dtype=np.int64), items=4)


def likeness(one, other):
    return len(set(LIKED_BY[one]) & set(LIKED_BY[other])) / np.sqrt((len(LIKED_BY[one]) + SMOOTHING) * (len(LIKED_BY[other]) + SMOOTHING))


def together(likers, history, weight, item):
    """Of one user."""
    found = likers.liked_together(np.array([history]), np.array([weight], dtype=np.float32), np.zeros(1, dtype=np.int64), np.array([item]))
    return found[0].tolist()


def test_likeness_is_the_smoothed_cosine_of_who_liked_both(likers):
    assert together(likers, [0, 2], [0.0, 0.4], 1) == pytest.approx([likeness(1, 2)] * 2)
    assert together(likers, [2, 3], [0.4, 0.1], 1) == pytest.approx([0.8 * likeness(1, 2) + 0.2 * likeness(1, 3)] * 2)


def test_an_item_is_not_like_itself_and_nothing_is_like_what_nobody_liked(likers):
    assert together(likers, [1, 2], [1.0, 0.5], 1) == pytest.approx([likeness(1, 2)] * 2)
    assert together(likers, [1, 0], [1.0, 0.0], 1) == [0.0, 0.0], "nothing is left of the history"
    assert together(likers, [0, 0], [0.0, 1.0], 1) == [0.0, 0.0], "padding has no strength"
    assert together(likers, [1, 2], [1.0, 1.0], 4) == [0.0, 0.0] == together(likers, [1, 2], [1.0, 1.0], 0)


def test_lately_is_of_the_newest_items_alone(likers):
    old, new = [2] * LATELY, [3] * LATELY
    assert together(likers, old + new, [1.0] * 2 * LATELY, 1) == pytest.approx([(likeness(1, 2) + likeness(1, 3)) / 2, likeness(1, 3)])


def test_many_users_and_pairs_are_each_as_alone():
    random = np.random.default_rng(0)
    items, users, width = 30, 5000, 12
    entries = (random.integers(0, items + 1, 900), random.integers(0, BUCKETS, 900), random.choice([-1, 1], 900))
    likers, dense = Likers.of_counts(*entries, items=items), np.zeros((items + 1, BUCKETS))
    np.add.at(dense, entries[:2], entries[2])
    dense[0] = 0
    dense /= np.sqrt((dense**2).sum(1, keepdims=True) + SMOOTHING)
    history, weight = random.integers(0, items + 1, (users, width)), random.random((users, width)).astype(np.float32)
    user, item = random.integers(0, users, 70_000), random.integers(0, items + 1, 70_000)
    found = likers.liked_together(history, weight, user, item)
    for pair in [*range(200), *range(69_900, 70_000)]:
        for column, newest in enumerate((width, LATELY)):
            past, strength = history[user[pair], -newest:], weight[user[pair], -newest:].astype(float)
            strength = strength * (past > 0) * (past != item[pair])
            wanted = strength @ (dense[past] @ dense[item[pair]]) / strength.sum() if strength.sum() else 0.0
            assert found[pair, column] == pytest.approx(wanted, abs=1e-5)


def test_the_sketch_knows_how_many_liked_both_on_average():
    """Two items of 60 people each, 30 of them the same: over many hashes the dot product is 30, give or take the collisions."""
    random, dots = np.random.default_rng(1), []
    for _ in range(300):
        bucket, sign = random.integers(0, 64, 90), random.choice([-1, 1], 90)
        rows = [np.bincount(bucket[part], sign[part], minlength=64) for part in (slice(0, 60), slice(30, 90))]
        dots.append(rows[0] @ rows[1])
    assert np.mean(dots) == pytest.approx(30, abs=3 * np.std(dots) / np.sqrt(300))
    assert np.std(dots) < 1.2 * np.sqrt(60 * 60 / 64)
