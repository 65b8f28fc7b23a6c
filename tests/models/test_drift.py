"""Drift of a figure: the index by hand, its level where nothing drifts, and what is found among many."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.drift import (
    categorical_drift,
    discoveries,
    effective_users,
    null_mean,
    numeric_drift,
    population_stability_index,
    quantile_edges,
)


def of_own(rows):
    """Every row is another user's."""
    return np.arange(rows)


def heavy(random, rows):
    """As counters are: most of them zero."""
    return random.exponential(size=rows) * (random.random(rows) < 0.2)


def test_the_index_by_hand():
    assert population_stability_index(np.array([0.5, 0.5]), np.array([0.25, 0.75])) == pytest.approx(0.25 * log(3))
    assert null_mean(10, 100, 300) == pytest.approx(0.12)
    assert [effective_users(np.array(users)) for users in ([1, 1, 2], [1, 2, 3], [5, 5, 5])] == pytest.approx([1.8, 3, 1])


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)), min_size=2, max_size=8))
def test_the_index_is_the_same_both_ways_and_never_below_zero(pairs):
    share, reference = (of / of.sum() for of in np.array(pairs).T)
    there, back = population_stability_index(share, reference), population_stability_index(reference, share)
    assert there == pytest.approx(back) and there >= -1e-12


def test_bins_end_at_values_and_none_is_too_small():
    assert quantile_edges(np.arange(1.0, 101.0), 0.05).tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert quantile_edges(np.array([0.0] * 86 + [1.0] * 14), 0.05).tolist() == [0]
    assert quantile_edges(np.array([0.0] * 88 + [1.0] * 3 + [2.0] * 9), 0.05).tolist() == [0]
    assert quantile_edges(np.zeros(50), 0.05).tolist() == [] == quantile_edges(np.array([0.0] * 98 + [1.0] * 2), 0.05).tolist()


@pytest.mark.parametrize("draw", [lambda random, rows: random.normal(size=rows), heavy], ids=["normal", "mostly zero"])
def test_where_nothing_drifts_the_excess_is_zero_on_average_and_p_values_keep_their_level(draw):
    random = np.random.default_rng(1)
    found = [numeric_drift(draw(random, 300), draw(random, 3000), of_own(3000)) for _ in range(1500)]
    excess, p_value = np.array([one.excess for one in found]), np.array([one.p_value for one in found])
    assert abs(excess.mean()) < 3.5 * excess.std() / np.sqrt(len(excess))
    assert found[0].null_mean > 5 * abs(excess.mean()), "without taking it off the index would be above zero by far"
    for level in (0.2, 0.05, 0.01):
        assert (p_value <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / len(found)))


def test_benjamini_and_hochberg_by_hand():
    assert discoveries(np.array([0.04, 0.01, 0.03, 0.02])).tolist() == [True] * 4, "all below the line of the largest"
    assert discoveries(np.array([0.04, 0.045, 0.051, 0.2])).tolist() == [False] * 4
    assert discoveries(np.array([0.6, 0.001, 0.024, 0.3])).tolist() == [False, True, True, False]
    assert discoveries(np.zeros(0)).tolist() == []


def test_of_many_figures_planted_drift_is_found_and_few_others_are():
    random, false_share, found_planted = np.random.default_rng(2), list[float](), list[float]()
    planted = np.arange(12) < 4
    for _ in range(300):
        drift = [numeric_drift(random.normal(size=400) + 0.4 * shifted, random.normal(size=2000), of_own(2000)) for shifted in planted]
        found = discoveries(np.array([one.p_value for one in drift]))
        false_share.append((found & ~planted).sum() / max(1, found.sum()))
        found_planted.append(found[planted].mean())
    assert np.mean(false_share) <= 0.05
    assert np.mean(found_planted) > 0.95


def test_the_same_users_hour_after_hour_count_as_the_few_that_they_are():
    """A reference of 24 hours of one hundred users, each always alike: as independent rows they would find drift where there is none."""
    random, by_user, by_row = np.random.default_rng(3), list[bool](), list[bool]()
    for _ in range(400):
        users, hours = random.normal(size=100), 24
        reference, whose = np.tile(users, hours), np.tile(of_own(100), hours)
        sample = random.normal(size=400)
        by_user.append(numeric_drift(sample, reference, whose).p_value <= 0.05)
        by_row.append(numeric_drift(sample, reference, of_own(len(reference))).p_value <= 0.05)
    assert np.mean(by_user) <= 0.08 < 0.3 < np.mean(by_row)


def test_a_figure_that_was_always_the_same_drifts_where_enough_users_have_another():
    zeros = np.zeros(1000)
    few, many = (numeric_drift(np.r_[np.ones(others), np.zeros(300 - others)], zeros, of_own(1000)) for others in (4, 30))
    assert (few.psi, few.p_value, few.users) == (0.0, 1.0, 300)
    assert many.excess > 0.2 and many.p_value < 1e-6
    gone = numeric_drift(np.zeros(300), np.random.default_rng(4).normal(size=1000), of_own(1000))
    assert gone.p_value < 1e-9, "and where a figure that varied is zero for everybody"


def test_categories_by_their_shares_a_new_one_too():
    words = np.array(["a", "b", "c"], dtype=object)
    random = np.random.default_rng(5)
    before, same = (random.choice(words, rows, p=[0.6, 0.3, 0.1]) for rows in (2000, 400))
    assert categorical_drift(same, before, of_own(2000)).p_value > 0.01
    new = np.where(random.random(400) < 0.1, "d", same)
    assert categorical_drift(new, before, of_own(2000)).p_value < 1e-6
    one = np.array(["a"] * 100, dtype=object)
    assert categorical_drift(one, one, of_own(100)).p_value == 1.0
