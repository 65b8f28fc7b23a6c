"""Who comes, hour by hour."""

import numpy as np
import pytest

from pipelines.hours import hour_range, shift
from pipelines.local.visitors import AWAY_H, AWAY_SHARE, RETURN_H, RETURN_RATE, newcomers, visitors

START = "2026-11-10T08"
HOURS = hour_range(shift(START, 1), shift(START, 72))


@pytest.fixture(scope="module")
def visits(world):
    """(hours, users) bool of the known users."""
    place = {user: row for row, user in enumerate(world.user_ids)}
    came = np.zeros((len(HOURS), len(world.user_ids)), dtype=bool)
    for number, hour in enumerate(HOURS):
        came[number, [place[user] for user in visitors(world, hour) if user in place]] = True
    return came


def test_users_come_at_their_own_rate_less_the_time_away(visits, world):
    assert visits.mean() == pytest.approx(world.activity.mean() * (1 - AWAY_SHARE), rel=0.02)
    busy = world.activity > np.median(world.activity)
    for half in (busy, ~busy):
        assert visits[:, half].mean() == pytest.approx(world.activity[half].mean() * (1 - AWAY_SHARE), rel=0.03)


def test_some_users_stay_away_for_days_on_end(visits, world):
    """By their rates alone nobody would miss 48 hours in a row."""
    longest = np.zeros(visits.shape[1])
    running = np.zeros(visits.shape[1])
    for came in visits:
        running = np.where(came, 0, running + 1)
        longest = np.maximum(longest, running)
    assert 0.01 < (longest >= AWAY_H * 2 / 3).mean() < 3 * AWAY_SHARE


def test_newcomers_are_new_few_and_the_same_each_time(world):
    everybody = [user for hour in HOURS for user in newcomers(world, hour)]
    counts = {len(newcomers(world, hour)) for hour in HOURS}
    assert counts == {3, 4, 5, 6, 7, 8}
    assert len(everybody) == len(set(everybody)) and not set(everybody) & set(world.user_ids)
    assert newcomers(world, START) == newcomers(world, shift(START, -5)) == []


def test_newcomers_return_at_their_rate_for_two_days_and_then_no_more(world):
    came = {hour: set(visitors(world, hour)) for hour in HOURS}
    new = newcomers(world, HOURS[0])
    returned = [sum(user in came[hour] for user in new) for hour in HOURS[1 : RETURN_H + 1]]
    assert np.mean(returned) / len(new) == pytest.approx(RETURN_RATE, abs=0.1)
    assert not any(user in came[hour] for user in new for hour in HOURS[RETURN_H + 1 :])


def test_nobody_comes_twice_in_an_hour(world):
    for hour in HOURS[::10]:
        who = visitors(world, hour)
        assert len(who) == len(set(who))
        assert who == visitors(world, hour)
