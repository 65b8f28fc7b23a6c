"""Expected rewards of a click against drawn reactions."""

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.local.reactions import expected_given_click, position_effect, rating_probability, sigmoid, stars, watched_share
from pipelines.settings import Reward, load_settings

DRAWS = 400_000


def reward(*terms):
    return Reward.model_validate({"version": "t", "horizon_h": 24, "terms": list(terms)})


@pytest.fixture(scope="module")
def luck():
    return np.random.default_rng(3).random((3, DRAWS))


@pytest.mark.parametrize("mood", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("cap", [1.0, 0.5])
def test_watching_is_worth_the_mean_of_the_capped_share(luck, mood, cap):
    drawn = np.minimum(watched_share(np.array(mood), luck[0]), cap)
    expected = expected_given_click(np.array(mood), reward({"task": "watch", "weight": 1.0, "cap": cap, "per_attribute": "duration_s"}))
    assert expected == pytest.approx(drawn.mean(), abs=4 * drawn.std() / DRAWS**0.5)


@pytest.mark.parametrize("mood", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("least", [1.0, 3.5, 4.0])
def test_a_rating_is_worth_the_chance_of_so_many_stars(luck, mood, least):
    given = (luck[1] < rating_probability(np.array(mood))) & (stars(np.array(mood), luck[2]) >= least)
    expected = expected_given_click(np.array(mood), reward({"task": "rating", "weight": 2.0, "cap": 1.0, "positive_from": least}))
    assert expected == pytest.approx(2 * given.mean(), abs=8 * given.std() / DRAWS**0.5)


def test_shares_and_stars_stay_in_their_ranges(luck):
    for mood in (-4.0, 4.0):
        share = watched_share(np.array(mood), luck[0])
        assert share.min() >= 0 and share.max() <= 1
        assert set(np.unique(stars(np.array(mood), luck[0]))) <= {1, 2, 3, 4, 5}


def test_who_likes_more_watches_more_and_gives_more_stars_by_the_same_luck(luck):
    moods = np.array([-1.0, 0.0, 1.0])[:, None]
    assert (np.diff(watched_share(moods, luck[0]), axis=0) >= 0).all()
    assert (np.diff(stars(moods, luck[0]), axis=0) >= 0).all()


def test_each_doubling_of_the_position_costs_a_quarter():
    np.testing.assert_allclose(position_effect(np.array([0, 1, 3, 7])), [0, -0.25, -0.5, -0.75])
    assert sigmoid(np.array(0.0)) == 0.5


@pytest.mark.parametrize("domain", ["ecommerce", "social"])
def test_a_reward_that_nobody_here_can_earn_is_refused(tmp_path, domain):
    other = load_settings(tmp_path, {"RECLOOP__DOMAIN": domain})
    with pytest.raises(UserError, match="domain video"):
        expected_given_click(np.zeros(1), other.reward)
