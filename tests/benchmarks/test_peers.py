"""Peers that need nothing beside the environment: what they learn in worlds with a known answer."""

import numpy as np
import pytest
import torch

from benchmarks.ranker.peers.candidates import RunningScale, counters, likeness
from benchmarks.ranker.peers.nrms import NRMS, WIDTH, NRMSHead, positives_with_negatives
from benchmarks.ranker.peers.simple import Popularity
from benchmarks.ranker.peers.vowpal import as_text
from models.metrics import auc
from models.records import RankerBatch, UserState
from spark_jobs.ranker_inputs import CROSS, LIKED_TOGETHER


def test_popularity_takes_the_half_life_that_ordered_best_so_far(hour):
    peer = Popularity([0, 2])
    first = hour("2026-03-02T00", [[9.0, 0.0, 1.0], [1.0, 0.0, 9.0]])
    assert peer.predict(first).tolist() == [9.0, 1.0]
    peer.observe(first, np.array([0.0, 1.0]))
    assert peer.predict(first).tolist() == [1.0, 9.0]


def test_the_running_scale_is_that_of_everything_observed_at_once():
    values = np.random.default_rng(1).gamma(1.0, 5.0, (50, 3))
    scale = RunningScale()
    for start in (0, 7, 20):
        scale.observe(values[start : {0: 7, 7: 20, 20: 50}[start]])
    logs = np.log1p(values)
    assert scale(values) == pytest.approx(np.clip((logs - logs.mean(0)) / logs.std(0), -5, 5))
    assert RunningScale()(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2
    scale.observe(np.zeros((10**6, 3)))
    assert scale(np.full((1, 3), 1e9)).tolist() == [[5.0] * 3]


def test_a_row_for_vw_has_a_namespace_for_item_user_and_both():
    row = [1.0, 2.0, 24.0, 3.0, 4.0, 0.5, 6.0, 7.0, 0.1]  # two counters of the item and its age, two of the user, four of both
    assert as_text(row) == "|i 0:1 1:2 2:24 |u 0:3 1:4 |x 0:0.5 1:6 2:7 3:0.1"


def test_a_positive_learns_against_negatives_of_its_own_set(hour):
    known = hour("2026-03-02T00", [[0.0]] * 6, [0, 0, 1, 1, 2, 0], [1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 1, 0], [[0, 7], [8, 9]])
    history, items = positives_with_negatives(known, np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0]), np.random.default_rng(0))
    assert history.tolist() == [[0, 7], [8, 9]]  # the set with nothing but a positive is left out
    assert items[:, 0].tolist() == [1, 3] and items.shape == (2, 5)
    assert set(items[0, 1:]) <= {2, 6} and set(items[1, 1:]) == {4}


def test_the_users_vector_knows_no_padding_and_no_order():
    torch.manual_seed(3)
    head, texts = NRMSHead(8).eval().requires_grad_(False), torch.randn(1, 2, WIDTH)
    there = torch.tensor([[True, True]])
    alone = head.users(texts, there)
    padded = torch.cat([torch.randn(1, 1, WIDTH), texts], 1)
    assert head.users(padded, torch.tensor([[False, True, True]])) == pytest.approx(alone.numpy(), abs=1e-6)
    assert head.users(texts.flip(1), there) == pytest.approx(alone.numpy(), abs=1e-6)
    nobody = head.users(torch.randn(1, 2, WIDTH), torch.tensor([[False, False]]))
    assert torch.isfinite(nobody).all() and not torch.allclose(nobody, alone)


@pytest.mark.parametrize("shuffled", [False, True])
def test_nrms_learns_that_people_take_what_is_like_their_history_and_nothing_from_shuffled_labels(hour, shuffled):
    """Two topics; items 1 to 20 and 21 to 40. A user takes the topic of the history."""
    rng = np.random.default_rng(5)
    centre = np.repeat(rng.normal(0, 1, (2, 16)), 20, axis=0)
    vectors = np.concatenate([np.zeros((1, 16)), centre + rng.normal(0, 0.5, (40, 16))]).astype(np.float32)
    peer, areas = NRMS(torch.from_numpy(vectors), rate=3e-3, steps=4), []
    for number in range(60):
        topic = rng.integers(0, 2, 8)
        history = topic[:, None] * 20 + rng.integers(1, 21, (8, 3))
        user = np.repeat(np.arange(8), 6)
        item = rng.integers(1, 41, 48)
        label = ((item > 20) == topic[user]).astype(float)
        label = rng.permutation(label) if shuffled else label
        known = hour(f"2026-03-0{2 + number // 24}T{number % 24:02}", np.zeros((48, 1)), user, item, user, history)
        found = peer.predict(known)
        assert (found is None) == (number == 0)
        if number >= 40:
            areas.append(auc(label, found))
        peer.observe(known, label)
    assert np.mean(areas) == pytest.approx(0.5, abs=0.06) if shuffled else np.mean(areas) > 0.9


def test_likeness_of_text_history_and_likers_by_hand():
    """Texts point east, north, west and south, so their mean is nothing. The history is north a day ago, east just now."""
    vectors = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0], [-2.0, 0.0], [0.0, -3.0]])
    user = UserState(
        torch.zeros(3, 1), torch.tensor([[0, 2, 1], [0, 2, 1], [0, 0, 0]]), torch.tensor([[0.0, 24.0, 0.0]] * 3), torch.ones(3, 3)
    )
    none, cross = torch.zeros(3), torch.zeros(3, len(CROSS))
    cross[:, [CROSS.index(name) for name in LIKED_TOGETHER]] = torch.tensor([[0.25, 0.5], [0.0, 0.0], [0.125, 0.0]])
    item = torch.tensor([1, 3, 1])  # east, west, and east for somebody without history
    batch = RankerBatch(user, item, torch.zeros(3, 1), none, cross, none.long(), torch.zeros(3, 1), none, none.long())
    found = likeness(batch, vectors)
    assert found[0] == pytest.approx([1 / 2, 1 / 1.5, 0.0, 2.0, 0.25, 0.5])  # nearest *other* item is north
    assert found[1] == pytest.approx([-1 / 2, -1 / 1.5, 0.0, 2.0, 0.0, 0.0])
    assert found[2] == pytest.approx([0.0, 0.0, -1.0, 0.0, 0.125, 0.0])
    assert counters(batch).shape == (3, 3 + len(CROSS) - len(LIKED_TOGETHER)) and not counters(batch).any()
