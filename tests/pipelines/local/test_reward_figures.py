"""Differences and intervals by hand, and their coverage by simulation."""

import numpy as np
import pytest

from pipelines.local.reward_figures import ARMS, BEST, FROZEN_ALL, LOOP, RANDOM, HourRewards, figures, share_of_best


def rewards(hour, users, **arms):
    return HourRewards(hour, users, np.stack([np.asarray(arms.get(arm, np.zeros(len(users))), float) for arm in ARMS], axis=1))


def by_name(found):
    return {(metric.name, metric.subject): metric for metric in found}


def test_means_are_over_slates_and_not_over_users_or_hours():
    first = rewards("a", ["u", "v"], loop=[1, 3], random=[0, 1], best=[4, 4])
    second = rewards("b", ["u"], loop=[8], random=[2], best=[10])
    found = by_name(figures([first, second], 7, "x", "r000001"))
    assert found["world_reward", LOOP].value == pytest.approx(4)
    assert found["world_difference", RANDOM].value == pytest.approx(3)
    assert found["world_share_of_best", LOOP].value == pytest.approx((4 - 1) / (6 - 1))
    assert (found["world_reward", LOOP].n, found["world_reward", LOOP].slice) == (3, "x")


def test_a_constant_difference_has_an_interval_of_no_width():
    loop = np.random.default_rng(0).random(50)
    metric = by_name(figures([rewards("a", [f"u{i}" for i in range(50)], loop=loop, frozen_all=loop - 0.25)], 7, "x", None))
    found = metric["world_difference", FROZEN_ALL]
    assert (found.low, found.value, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_intervals_resample_users_and_not_slates():
    """Each user's difference is the same in all hours: 30 users in 20 hours are 30 observations."""
    random = np.random.default_rng(1)
    users, own = [f"u{i}" for i in range(30)], random.normal(size=30)
    hours = [rewards(str(h), users, loop=own) for h in range(20)]
    found = by_name(figures(hours, 7, "x", None))["world_difference", RANDOM]
    assert found.high - found.low == pytest.approx(2 * 1.96 * own.std() / np.sqrt(30), rel=0.15)


def test_intervals_cover_the_truth():
    random, covered = np.random.default_rng(2), 0
    for _ in range(200):
        found = by_name(figures([rewards("a", [f"u{i}" for i in range(60)], loop=random.exponential(1, 60))], 7, "x", None))
        metric = found["world_reward", LOOP]
        covered += metric.low <= 1 <= metric.high
    assert 0.87 <= covered / 200 <= 0.99


def test_share_of_best_is_one_at_the_best_and_undefined_without_room():
    means = np.zeros((3, len(ARMS)))
    means[:, ARMS.index(BEST)] = [2, 2, 1]
    means[:, ARMS.index(RANDOM)] = [1, 1, 1]
    means[:, ARMS.index(LOOP)] = [2, 1.5, 1]
    np.testing.assert_allclose(share_of_best(means), [1, 0.5, np.nan])
