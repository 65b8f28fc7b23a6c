import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hashing import id_hash
from models.retrieval import select_candidates

USERS, ITEMS = 6, 40
HASHES = id_hash([f"u{i}" for i in range(USERS)]), id_hash([f"i{i}" for i in range(ITEMS + 1)])


def world(seed=0, allowed_share=1.0, fresh_count=0):
    random = np.random.default_rng(seed)
    scores = random.normal(size=(USERS, ITEMS + 1)).astype(np.float32)
    allowed = random.random((USERS, ITEMS + 1)) < allowed_share
    fresh = np.zeros(ITEMS + 1, dtype=bool)
    fresh[random.choice(np.arange(1, ITEMS + 1), fresh_count, replace=False)] = True
    return scores, allowed, fresh


def select(scores, allowed, fresh, size=10, hour=5, **options):
    return select_candidates(scores, allowed, fresh, *HASHES, hour=hour, seed=7, size=size, **options)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1), st.integers(0, ITEMS), st.integers(1, 60), st.floats(0, 1))
def test_candidates_are_distinct_allowed_and_as_many_as_there_are(seed, share, fresh_count, size, explore):
    scores, allowed, fresh = world(seed, share, fresh_count)
    candidates, mask = select(scores, allowed, fresh, size=size, explore_share=explore)
    assert candidates.shape == mask.shape == (USERS, size)
    for user in range(USERS):
        chosen = candidates[user][mask[user]].tolist()
        assert len(set(chosen)) == len(chosen) == min(size, allowed[user, 1:].sum())
        assert 0 not in chosen and allowed[user, chosen].all()
        assert (candidates[user][~mask[user]] == 0).all()
        fresh_allowed = (allowed[user] & fresh)[1:].sum()
        assert fresh[chosen].sum() >= min(fresh_allowed, size // 2)


def test_without_exploration_and_fresh_items_the_best_scores_win():
    scores, allowed, fresh = world()
    candidates, _ = select(scores, allowed, fresh, explore_share=0.0)
    best = np.sort(np.argsort(-scores[:, 1:], axis=1)[:, :10] + 1, axis=1)
    np.testing.assert_array_equal(candidates.numpy(), best)


def test_exploration_replaces_the_last_of_the_best_and_changes_by_hour():
    scores, allowed, fresh = world()
    candidates, _ = select(scores, allowed, fresh, explore_share=0.3)
    best = np.argsort(-scores[:, 1:], axis=1)[:, :7] + 1
    assert all(set(best[u]) <= set(candidates[u].tolist()) for u in range(USERS))
    again, _ = select(scores, allowed, fresh, explore_share=0.3)
    later, _ = select(scores, allowed, fresh, explore_share=0.3, hour=6)
    assert torch.equal(candidates, again) and not torch.equal(candidates, later)


def test_a_non_finite_score_of_an_allowed_item_is_refused():
    scores, allowed, fresh = world()
    scores[2, 3] = np.nan
    with pytest.raises(ValueError, match="retrieval scores"):
        select(scores, allowed, fresh)
    allowed[2, 3] = False
    select(scores, allowed, fresh)
