"""What changes by the hour is a function of seed and hour, of the stated size."""

import numpy as np
import pytest

from models.hashing import id_hash
from pipelines.local.drift import BUZZ_HALF_LIFE_H, BUZZ_WINDOW_H, KEPT, SPEEDS, TasteWalk, buzz

RATES = SPEEDS["medium"]


def test_nothing_has_moved_at_first_and_the_way_there_does_not_matter():
    walk = TasteWalk(7, 50, 4, RATES)
    assert not walk.at(0).any()
    forward = walk.at(9).copy()
    walk.at(40)
    np.testing.assert_array_equal(walk.at(9), forward)
    np.testing.assert_array_equal(TasteWalk(7, 50, 4, RATES).at(9), forward)


def test_another_seed_walks_another_way():
    assert not np.allclose(TasteWalk(7, 50, 4, RATES).at(5), TasteWalk(8, 50, 4, RATES).at(5))


@pytest.mark.parametrize("hours", [1, 30])
def test_the_individual_part_has_the_variance_of_the_stated_steps(hours):
    moved = TasteWalk(7, 4000, 6, RATES).at(hours)
    own = moved - moved.mean(axis=0)
    wanted = RATES.individual**2 * sum(KEPT ** (2 * age) for age in range(hours))
    assert own.var() == pytest.approx(wanted, rel=0.03)


def test_the_walk_stays_within_seven_hourly_steps():
    moved = TasteWalk(7, 2000, 6, RATES).at(500)
    assert (moved - moved.mean(axis=0)).std() == pytest.approx(7.09 * RATES.individual, rel=0.03)


def test_the_trend_moves_all_users_alike():
    rates = type(RATES)(trend=0.1, individual=0.0, buzz_rate=0)
    moved = TasteWalk(7, 30, 5, rates).at(12)
    assert np.ptp(moved, axis=0).max() < 1e-6
    assert moved.any()


def test_a_buzz_fades_by_half_in_its_half_life():
    items = id_hash([f"i{n}" for n in range(3000)])
    rates = type(RATES)(0, 0, buzz_rate=0.0005)
    then, later = buzz(7, items, 480_000, rates), buzz(7, items, 480_000 + BUZZ_HALF_LIFE_H, rates)
    fading = (then > 0) & (later < then) & (then * 0.5 - later < 1e-12)
    assert np.isclose(later[fading], then[fading] / 2).mean() > 0.8


def test_the_mean_buzz_is_rate_times_height_times_how_long_it_lasts():
    items = id_hash([f"i{n}" for n in range(4000)])
    found = np.mean([buzz(7, items, 480_000 + 97 * n, RATES).mean() for n in range(12)])
    lasting = sum(0.5 ** (age / BUZZ_HALF_LIFE_H) for age in range(BUZZ_WINDOW_H))
    assert found == pytest.approx(RATES.buzz_rate * lasting, rel=0.1)


def test_faster_worlds_move_more():
    sizes = [np.abs(TasteWalk(7, 300, 6, SPEEDS[speed]).at(24)).mean() for speed in ("slow", "medium", "fast")]
    assert sizes[0] < sizes[1] / 1.5 and sizes[1] < sizes[2] / 1.5
