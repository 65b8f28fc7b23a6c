"""Who liked both over what is to be expected, against a loop over dense rows."""

import numpy as np
import pytest

from models.likers import BUCKETS, LATELY, PRIOR, Likers

LIKED_BY = {1: [1, 2, 3, 4], 2: [2, 3, 4], 3: [9]}  # item: people, each in a bucket of their own
ROW, PERSON = (np.array(part) for part in zip(*[(item, person) for item, people in LIKED_BY.items() for person in people], strict=True))
LIKES = len(ROW)


@pytest.fixture
def likers():
    return Likers.of_counts(ROW, PERSON, np.ones(LIKES, dtype=np.int64), items=4)


def both(one, other):
    return len(set(LIKED_BY[one]) & set(LIKED_BY[other]))


def expected(one):
    """Of the people of another item, as a share: all likes of this item's people over all likes."""
    return sum(both(one, item) for item in LIKED_BY) / LIKES


def log_ratio(item, history):
    """history: item and strength."""
    found = sum(strength * both(item, other) for other, strength in history)
    people = sum(strength * len(LIKED_BY[other]) for other, strength in history)
    return float(np.log((found + PRIOR) / (people * expected(item) + PRIOR)))


def together(likers, history, weight, item):
    """Of one user."""
    found = likers.liked_together(np.array([history]), np.array([weight], dtype=np.float32), np.zeros(1, dtype=np.int64), np.array([item]))
    return found[0].tolist()


def test_it_is_the_log_of_those_who_liked_both_over_those_to_be_expected(likers):
    assert together(likers, [0, 2], [0.0, 0.4], 1) == pytest.approx([log_ratio(1, [(2, 0.4)])] * 2, rel=1e-5)
    assert together(likers, [2, 3], [0.4, 0.1], 1) == pytest.approx([log_ratio(1, [(2, 0.4), (3, 0.1)])] * 2, rel=1e-5)
    assert together(likers, [2], [1.0], 1)[0] > 0 > together(likers, [3], [1.0], 1)[0]


def test_an_item_says_nothing_of_itself_and_nothing_is_known_of_what_nobody_liked(likers):
    assert together(likers, [1, 2], [1.0, 0.5], 1) == pytest.approx([log_ratio(1, [(2, 0.5)])] * 2, rel=1e-5)
    assert together(likers, [1, 0], [1.0, 0.0], 1) == [0.0, 0.0], "nothing is left of the history"
    assert together(likers, [0, 0], [0.0, 1.0], 1) == [0.0, 0.0], "padding has no strength"
    assert together(likers, [1, 2], [1.0, 1.0], 4) == [0.0, 0.0] == together(likers, [1, 2], [1.0, 1.0], 0)


def test_lately_is_of_the_newest_items_alone(likers):
    old, new = [2] * LATELY, [3] * LATELY
    wanted = [log_ratio(1, [(2, LATELY), (3, LATELY)]), log_ratio(1, [(3, LATELY)])]
    assert together(likers, old + new, [1.0] * 2 * LATELY, 1) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("faster", [0, 10**9])
def test_many_users_and_pairs_are_each_as_alone(faster, monkeypatch):
    """Looked up pair by pair, and by products of all with all."""
    monkeypatch.setattr("models.likers._PRODUCT_FASTER", faster)
    random = np.random.default_rng(0)
    items, users, width = 30, 5000, 12
    entries = (random.integers(0, items + 1, 900), random.integers(0, BUCKETS, 900), random.choice([-1, 1], 900))
    likers, dense = Likers.of_counts(*entries, items=items), np.zeros((items + 1, BUCKETS))
    np.add.at(dense, entries[:2], entries[2])
    dense[0] = 0
    count, everything = (dense**2).sum(1), dense.sum(0)
    history, weight = random.integers(0, items + 1, (users, width)), random.random((users, width)).astype(np.float32)
    user, item = random.integers(0, users, 70_000), random.integers(0, items + 1, 70_000)
    found = likers.liked_together(history, weight, user, item)
    for pair in [*range(200), *range(69_900, 70_000)]:
        for column, newest in enumerate((width, LATELY)):
            past, strength = history[user[pair], -newest:], weight[user[pair], -newest:].astype(float)
            strength = strength * (past > 0) * (past != item[pair])
            liked_both = max(strength @ dense[past] @ dense[item[pair]], 0)
            people = strength @ count[past] * max(dense[item[pair]] @ everything, 0) / count.sum()
            assert found[pair, column] == pytest.approx(np.log((liked_both + PRIOR) / (people + PRIOR)), abs=1e-4)


def test_a_log_that_grows_on_all_sides_alike_leaves_the_ratio_alone():
    """Ten times the people, of the same tastes: 6 groups, each with its own 5 of 30 items and some of the others."""
    own, others = {}, {}
    for people in (400, 4000):
        for seed in range(10):
            random = np.random.default_rng(seed)
            group = np.arange(people) % 6
            likes = random.random((people, 30)) < np.where(np.arange(30) // 5 == group[:, None], 0.5, 0.1)
            person, item = likes.nonzero()
            bucket, sign = random.integers(0, BUCKETS, people), random.choice([-1, 1], people)
            likers = Likers.of_counts(item + 1, bucket[person], sign[person], items=30)
            user, every = np.zeros(30, dtype=np.int64), np.arange(1, 31)
            found = likers.liked_together(np.array([[1, 2, 3]]), np.ones((1, 3), np.float32), user, every)[:, 0]
            own.setdefault(people, []).append(found[3:5].mean())
            others.setdefault(people, []).append(found[5:].mean())
    assert np.mean(own[400]) == pytest.approx(np.mean(own[4000]), abs=0.1) and np.mean(own[400]) > 0.4
    assert np.mean(others[400]) == pytest.approx(np.mean(others[4000]), abs=0.1) and np.mean(others[400]) < -0.1


def test_the_sketch_knows_how_many_liked_both_on_average():
    """Two items of 60 people each, 30 of them the same: over many hashes the dot product is 30, give or take the collisions."""
    random, dots = np.random.default_rng(1), []
    for _ in range(300):
        bucket, sign = random.integers(0, 64, 90), random.choice([-1, 1], 90)
        rows = [np.bincount(bucket[part], sign[part], minlength=64) for part in (slice(0, 60), slice(30, 90))]
        dots.append(rows[0] @ rows[1])
    assert np.mean(dots) == pytest.approx(30, abs=3 * np.std(dots) / np.sqrt(300))
    assert np.std(dots) < 1.2 * np.sqrt(60 * 60 / 64)
