"""Intervals and tests that are looked at every hour: worked by hand, and over many null and planted experiments."""

import math

import numpy as np
import pytest

from models.sequential import HourlyArms, confidence_sequence, error_share, sample_ratio_p, users_needed


def arms(*hours):
    """Of (champion, challenger) pairs of (count, mean, variance)."""
    array = np.array(hours, dtype=float)  # (H, 2, 3)
    return HourlyArms(array[..., 0], array[..., 1], array[..., 2])


def test_one_hour_by_hand():
    found = confidence_sequence(arms([(100, 1.0, 1.0), (100, 1.5, 1.0)]), alpha=0.05, planned=100)
    logs = 2 * math.log(20)
    rate = (logs + math.log(logs + 1)) / 50  # the sum of 50 differences has variance 50, which is also what was planned for
    half = math.sqrt(2 * (50 * rate + 1) / rate * math.log(math.sqrt(50 * rate + 1) / 0.05)) / 50
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert half / math.sqrt(0.02) == pytest.approx(3.04, abs=0.01), "three standard errors, where one look would need two"


def test_hours_weigh_by_what_they_can_tell():
    few, many = [(10, 0.0, 1.0), (10, 1.0, 1.0)], [(90, 0.0, 1.0), (90, 0.5, 1.0)]
    assert confidence_sequence(arms(few, many), 0.05, 100).mean == pytest.approx(0.55)
    lopsided = [(1_000_000, 0.0, 1.0), (10, 1.0, 1.0)]
    assert confidence_sequence(arms(lopsided, many), 0.05, 100).mean == pytest.approx((10 * 1.0 + 45 * 0.5) / 55, abs=1e-4)


def test_an_hour_of_one_arm_tells_nothing():
    both = [(50, 1.0, 1.0), (50, 1.2, 1.0)]
    assert confidence_sequence(arms(both, [(50, 9.0, 1.0), (1, 0.0, 0.0)]), 0.05, 100) == confidence_sequence(arms(both), 0.05, 100)
    nothing = confidence_sequence(arms([(50, 1.0, 1.0), (0, 0.0, 0.0)]), 0.05, 100)
    assert (nothing.mean, nothing.low, nothing.high) == (0.0, -math.inf, math.inf)


def rewards(random, lift, hours=72, users=400, stable=False, share=0.5, level=1.0):
    """Users with levels of their own, who come back every hour; arms drawn anew each hour, or once for all."""
    own, arm = level * random.gamma(1.0, 1.0, users), random.random(users) < share
    found = []
    for _ in range(hours):
        arm = arm if stable else random.random(users) < share
        reward = random.poisson(own * np.where(arm, 1 + lift, 1.0))
        found.append([(int(part.sum()), reward[part].mean(), reward[part].var(ddof=1)) for part in (~arm, arm)])
    return found


def ends(random, lift, alpha=0.05, **world):
    """1 where the interval ever lies above 0, -1 below, else 0; and after how many hours."""
    found = rewards(random, lift, **world)
    for hour in range(2, len(found) + 1):
        interval = confidence_sequence(arms(*found[:hour]), alpha, planned=10_000)
        if interval.low > 0 or interval.high < 0:
            return (1 if interval.low > 0 else -1), hour
    return 0, len(found)


def test_arms_that_are_drawn_anew_err_as_seldom_as_was_asked_and_a_stable_split_does_not():
    random = np.random.default_rng(5)
    anew = [ends(random, 0.0)[0] for _ in range(300)]
    stable = [ends(random, 0.0, stable=True)[0] for _ in range(100)]
    assert np.mean([found == 1 for found in anew]) <= 0.03 and np.mean([found != 0 for found in anew]) <= 0.05
    assert np.mean([found != 0 for found in stable]) > 0.15, "the same users' levels are counted again every hour"


def test_a_planted_lift_is_found_within_the_users_that_were_said():
    random = np.random.default_rng(6)
    deviation = math.sqrt(2.0)  # Poisson rewards around levels that are exponential: 1 + 1
    needed = users_needed(deviation, 0.1, 0.05, planned=10_000)
    hours = math.ceil(needed / 400)
    found = [ends(random, 0.1, hours=hours) for _ in range(100)]
    assert np.mean([ending == 1 for ending, _ in found]) >= 0.8, f"{needed:,.0f} users' hours are {hours} hours"
    assert users_needed(deviation, 0.2, 0.05, 10_000) < needed / 3 and users_needed(deviation, 0.0, 0.05, 10_000) == math.inf
    assert users_needed(deviation, 0.1, 0.05, 10_000, share=0.1) > 2 * needed


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
def test_arms_as_drawn_raise_no_alarm_and_lost_rows_do(share):
    random = np.random.default_rng(7)

    def ever(true_share):
        challenger = random.binomial(2000, true_share, 72)
        return any(sample_ratio_p(np.stack([2000 - challenger[:n], challenger[:n]], axis=1), share) < 0.01 for n in range(1, 73))

    assert np.mean([ever(share) for _ in range(100)]) <= 0.03
    assert np.mean([ever(0.9 * share) for _ in range(20)]) == 1.0, "a tenth of the challenger's rows is lost"


def test_the_budget_of_all_challengers_is_kept():
    assert sum(error_share(number, 0.05) for number in range(1, 100_000)) == pytest.approx(0.05, abs=1e-6)
    assert error_share(1, 0.05) == pytest.approx(0.0304, abs=1e-4)
