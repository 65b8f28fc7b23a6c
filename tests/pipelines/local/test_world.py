"""The truth against itself by longer ways: shares by brute force, rewards by drawing, best slates by assignment."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from pipelines.errors import UserError
from pipelines.hours import hour_number, shift
from pipelines.local.reactions import expected_given_click, position_effect, rating_probability, sigmoid, stars, watched_share
from pipelines.local.world import World
from pipelines.local.world_fit import MIN_USERS, RANDOM_CLICK_RATE, fit_world

START = "2026-11-10T08"
LATER = shift(START, 20)


def test_taste_quality_and_residual_have_their_shares(world):
    parts, columns = world.user_vectors.astype(float), world.item_vectors.astype(float)
    taste = slice(0, world.genres + world.keywords)
    found = {
        "taste": np.var(parts[:, taste] @ columns[:, taste].T),
        "quality": np.var(world.item_quality),
        "residual": np.var(parts[:, taste.stop :] @ columns[:, taste.stop :].T),
    }
    total = sum(found.values())
    assert {name: round(value / total, 2) for name, value in found.items()} == {"taste": 0.4, "quality": 0.3, "residual": 0.3}
    whole = np.var(parts @ columns.T + world.item_quality)
    assert whole == pytest.approx(total, rel=0.1), "the parts are all but uncorrelated"


def test_random_items_get_the_stated_share_of_clicks(world):
    users = world.user_ids[::5]
    rows = np.broadcast_to(np.arange(len(world.item_ids)), (len(users), len(world.item_ids)))
    quiet = dataclasses.replace(world, start_hour="2030-01-01T00")
    clicks = sigmoid(quiet.affinity(users, rows, START) - (quiet.item_level(START) - quiet.item_quality))
    assert clicks.mean() == pytest.approx(RANDOM_CLICK_RATE, rel=0.05)


def test_there_are_enough_users_and_each_copy_is_its_own(world):
    assert len(world.user_ids) == len(set(world.user_ids)) >= MIN_USERS
    assert len(np.unique(world.user_vectors, axis=0)) == len(world.user_ids)


def test_expected_reward_is_the_mean_of_drawn_reactions(world, settings):
    """Each position of 300 slates drawn 4,000 times with fresh randomness, and paid by the reward definition."""
    random = np.random.default_rng(5)
    users = world.user_ids[::9][:300]
    rows = np.stack([random.choice(len(world.item_ids), 10, replace=False) for _ in users])
    items = np.array(world.item_ids, dtype=object)[rows]
    affinity = world.affinity(users, rows, LATER)
    mood, total = world.mood(affinity), np.zeros(len(users))
    for _ in range(4000):
        click, share, rate, star = random.random((4, *affinity.shape))
        clicked = click < sigmoid(affinity + position_effect(np.arange(10)))
        watched = watched_share(mood, share)
        liked = (rate < rating_probability(mood)) & (stars(mood, star) >= 4)
        total += (clicked * (0.2 + watched + 0.5 * liked)).sum(axis=1)
    expected = world.expected_reward(users, items, LATER, settings.reward)
    assert np.abs(total / 4000 - expected).mean() < 0.02
    assert (total / 4000 - expected).mean() == pytest.approx(0, abs=0.004)


def test_an_item_alone_is_worth_what_the_matrix_says(world, settings):
    users = world.user_ids[:40]
    matrix = world.reward_matrix(users, LATER, settings.reward)
    for row in (0, 17, 119):
        alone = np.full((40, 1), world.item_ids[row], dtype=object)
        np.testing.assert_allclose(world.expected_reward(users, alone, LATER, settings.reward), matrix[:, row], rtol=1e-4)


def test_a_shorter_slate_is_worth_less_by_what_is_missing(world, settings):
    users, items = world.user_ids[:5], np.array([world.item_ids[:3]] * 5, dtype=object)
    cut = items.copy()
    cut[:, 2] = ""
    two = world.expected_reward(users, items[:, :2], LATER, settings.reward)
    np.testing.assert_allclose(world.expected_reward(users, cut, LATER, settings.reward), two)


def test_best_slates_come_within_three_thousandths_of_the_best_assignment(world, settings):
    """The exact optimum assigns items to positions; sorting by what is lost lower down is nearly that."""
    users = world.user_ids[::400]
    allowed = np.random.default_rng(1).random((len(users), len(world.item_ids))) < 0.8
    best = world.best_slates(users, allowed, LATER, 6, settings.reward)
    assert np.take_along_axis(allowed, best, axis=1).all()
    found = world.expected_reward(users, np.array(world.item_ids, dtype=object)[best], LATER, settings.reward)
    rows = np.broadcast_to(np.arange(len(world.item_ids)), allowed.shape)
    affinity = world.affinity(users, rows, LATER)
    clicked = sigmoid(affinity[:, :, None] + position_effect(np.arange(6)))
    value = clicked * expected_given_click(world.mood(affinity), settings.reward)[:, :, None]  # (U, N, K)
    for user in range(len(users)):
        pairs = np.where(allowed[user][:, None], value[user], -1.0)
        optimum = pairs[linear_sum_assignment(pairs, maximize=True)].sum()
        assert optimum * 0.997 <= found[user] <= optimum * (1 + 1e-6)


def test_too_few_allowed_items_are_an_error(world, settings):
    allowed = np.zeros((2, len(world.item_ids)), dtype=bool)
    allowed[:, :3] = True
    with pytest.raises(UserError, match="needs 4 allowed items, found 3"):
        world.best_slates(world.user_ids[:2], allowed, LATER, 4, settings.reward)


def test_a_saved_world_is_the_same_world(world, tmp_path, settings):
    world.save(tmp_path)
    again = World.load(tmp_path)
    items = np.array([world.item_ids[:10]] * 30, dtype=object)
    users = [*world.user_ids[:28], "n2026-11-11T02-1", "stranger"]
    first = world.expected_reward(users, items, LATER, settings.reward)
    np.testing.assert_array_equal(first, again.expected_reward(users, items, LATER, settings.reward))
    stated = json.loads((tmp_path / "world.json").read_text())["variance_shares"]
    assert stated == pytest.approx({"taste": 0.4, "quality": 0.3, "residual": 0.3}, abs=1e-3)


def test_without_a_world_the_error_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="recloop demo-data"):
        World.load(tmp_path)


def test_strangers_are_steady_and_differ(world):
    first = world.user_vectors_at(["s1", "s2", world.user_ids[3]], START)
    again = world.user_vectors_at(["s2", world.user_ids[3], "s1"], START)
    np.testing.assert_array_equal(first, again[[2, 0, 1]])
    assert not np.allclose(first[0], first[1])
    np.testing.assert_array_equal(first[2], world.user_vectors[3])


def test_withheld_items_come_two_an_hour_after_the_start(world):
    hours = world.published[world.published > 0]
    assert len(hours) == round(0.05 * len(world.item_ids))
    assert sorted(hours - hour_number(START)) == [1 + n // 2 for n in range(len(hours))]


def test_the_fit_is_a_function_of_its_seed(catalogue, world):
    again = fit_world(catalogue, 7, START, "medium")
    np.testing.assert_array_equal(again.user_vectors, world.user_vectors)
    assert not np.array_equal(fit_world(catalogue, 8, START, "medium").user_vectors, world.user_vectors)


def test_planted_tastes_are_found_again(catalogue, world):
    """A copy's logit of what its original rated high is above that of what it rated low."""
    ratings = catalogue.ratings
    place = {user: row for row, user in enumerate(world.user_ids)}
    users = np.array([place[f"u{user}-0"] for user in ratings["user_id"]])
    items = world.item_rows(ratings["item_id"].to_numpy(object))
    logit = (world.user_vectors[users] * world.item_vectors[items]).sum(axis=1) + world.item_quality[items]
    high, low = (ratings["rating"] >= 4).to_numpy(), (ratings["rating"] <= 3).to_numpy()
    assert logit[high].mean() - logit[low].mean() > 0.8
