"""Intervals against a plain bootstrap of the same figure, and against a truth that is known."""

import numpy as np
import pytest

from models.off_policy import bootstrap_t
from models.ope import bootstrap_t_of_ratios, empirical_bernstein
from models.ope.intervals import MOST_UNITS


def test_a_mean_a_row_is_the_plain_bootstrap_t_over_users_and_that_of_the_gates():
    draw = np.random.default_rng(5)
    user = draw.integers(0, 80, 1500)
    value = draw.exponential(1, 1500) * (1 + user % 3)
    total, rows = np.bincount(user, value), np.bincount(user)

    def mean_and_error(counts):
        mean = (counts * total).sum() / (counts * rows).sum()
        return mean, np.sqrt((counts * (total - mean * rows) ** 2).sum()) / (counts * rows).sum()

    mean, error = mean_and_error(np.ones(80))
    again, t = np.random.default_rng(3).poisson(1.0, (1000, 80)), []
    for counts in again:
        other, own = mean_and_error(counts)
        t.append((other - mean) / own)
    wanted = mean, mean - np.quantile(t, 0.975) * error, mean - np.quantile(t, 0.025) * error
    found = bootstrap_t_of_ratios(np.stack([total, rows], 1)[:, None, :].astype(float), np.ones(1), seed=3)
    assert (found.mean, found.low, found.high) == pytest.approx(wanted)
    assert bootstrap_t(value, user, 0.95, 3, 1000) == pytest.approx(wanted)


def test_a_sum_of_ratios_varies_as_its_plain_bootstrap():
    draw = np.random.default_rng(8)
    sums = draw.exponential(1, (400, 2, 2)) + 0.2
    signs = np.array([1.0, -1.0])
    found = bootstrap_t_of_ratios(sums, signs)
    again = [sums[draw.integers(0, 400, 400)].sum(0) for _ in range(2000)]
    spread = np.std([(one[:, 0] / one[:, 1]) @ signs for one in again])
    assert (found.high - found.low) / 3.92 == pytest.approx(spread, rel=0.08)


def test_many_users_cost_and_say_what_few_do():
    draw = np.random.default_rng(9)
    n = 20 * MOST_UNITS
    value = draw.pareto(3, n)
    sums = np.stack([value, np.ones(n)], 1)[:, None, :]
    found = bootstrap_t_of_ratios(sums, np.ones(1))
    error = value.std() / np.sqrt(n)
    assert found.mean == pytest.approx(value.mean())
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.25 * error)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Rewards by users who differ, skewed weights: of 300 logs 95 % within chance; empirical Bernstein, which promises at least, all."""
    draw, covered, promised = np.random.default_rng(11), 0, 0
    for number in range(300):
        level, weight = draw.beta(2, 6, 300), draw.lognormal(-0.125, 0.5, (300, 8))
        value = (weight * (draw.random((300, 8)) < level[:, None])).sum(1)
        found = bootstrap_t_of_ratios(np.stack([value, np.full(300, 8.0)], 1)[:, None, :], np.ones(1), seed=number, resamples=300)
        covered += found.low <= 0.25 <= found.high
        bounded = empirical_bernstein(np.minimum(value / 8, 4), (0, 4))
        promised += bounded.low <= 0.25 <= bounded.high
    assert 0.925 <= covered / 300 <= 0.975 and promised == 300


def test_the_smallest_logs():
    one = bootstrap_t_of_ratios(np.array([[[2.0, 4.0]]]), np.ones(1))
    assert (one.mean, one.low, one.high) == (0.5, -np.inf, np.inf)
    same = bootstrap_t_of_ratios(np.ones((50, 1, 2)), np.ones(1))
    assert (same.mean, same.low, same.high) == (1.0, 1.0, 1.0)
    assert empirical_bernstein(np.array([0.5]), (0, 1)).high == 1
    with pytest.raises(ValueError, match="1 of 2 values lie outside the bounds 0 to 1"):
        empirical_bernstein(np.array([0.5, 1.5]), (0, 1))
