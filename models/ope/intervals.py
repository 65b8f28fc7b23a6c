"""Intervals of ratios of sums over users.

Letters: U users, J ratios, R resamples. A figure is the signed sum of J ratios of sums: a mean is a ratio with a denominator of ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_UNITS = 4000  # users beyond are taken together at random: the interval keeps its first three moments, and its cost
_CELLS_AT_ONCE = 1_000_000  # resamples times units held at a time


@dataclass(frozen=True)
class Interval:
    mean: float
    low: float
    high: float


def bootstrap_t_of_ratios(sums: Floats, signs: Floats, confidence: float = 0.95, seed: int = 7, resamples: int = 1000) -> Interval:
    """Poisson bootstrap of the studentized figure (Efron and Tibshirani 1993), users being the units.

    sums: (U, J, 2) numerator and denominator of each user; signs: (J,). Fewer than two users give an infinite interval.
    """
    units = _grouped(sums.reshape(len(sums), -1), seed)  # (V, 2 J)
    width = units.shape[1]
    moments = np.concatenate([units, (units[:, :, None] * units[:, None, :]).reshape(len(units), -1)], 1)  # (V, 2 J + 4 J^2)
    (figure,), (error,) = _figure(moments.sum(0, keepdims=True), width, signs)
    if len(units) < 2:
        return Interval(float(figure), -math.inf, math.inf)
    generator, pieces, at_once = np.random.default_rng(seed), [], max(1, _CELLS_AT_ONCE // len(units))
    for first in range(0, resamples, at_once):
        counts = generator.poisson(1.0, (min(at_once, resamples - first), len(units))).astype(np.float64)  # (R, V)
        figures, errors = _figure(counts @ moments, width, signs)
        with np.errstate(divide="ignore", invalid="ignore"):
            pieces.append((figures - figure) / errors)
    t = np.concatenate(pieces)
    t = t[np.isfinite(t)]
    if len(t) == 0:  # no variation between users
        return Interval(float(figure), float(figure), float(figure))
    upper, lower = np.quantile(t, [(1 + confidence) / 2, (1 - confidence) / 2])
    return Interval(float(figure), float(figure - upper * error), float(figure - lower * error))


def _figure(moments: Floats, width: int, signs: Floats) -> tuple[Floats, Floats]:
    """Figure (R,) and its linearized standard error (R,) of summed moments (R, 2 J + 4 J^2)."""
    totals = moments[:, :width].reshape(len(moments), -1, 2)  # (R, J, 2)
    squares = moments[:, width:].reshape(len(moments), width, width)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = totals[..., 0] / totals[..., 1]  # (R, J)
        by_total = np.stack([signs / totals[..., 1], -signs * ratios / totals[..., 1]], -1).reshape(len(moments), width)
        variance = np.einsum("ri,rij,rj->r", by_total, squares, by_total)
    return ratios @ signs, np.sqrt(np.maximum(variance, 0))


def _grouped(rows: Floats, seed: int) -> Floats:
    """At most MOST_UNITS rows, each the sum of users taken together at random."""
    if len(rows) <= MOST_UNITS:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    starts = np.linspace(0, len(rows), MOST_UNITS, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(rows[order], starts))


def empirical_bernstein(values: Floats, bounds: tuple[float, float], confidence: float = 0.95) -> Interval:
    """Of the mean of independent values within `bounds` (Maurer and Pontil 2009, theorem 4, on both sides): it holds at every n.

    ValueError for a value outside the bounds. Fewer than two values give the bounds.
    """
    low, high = bounds
    if outside := int(((values < low - 1e-9) | (values > high + 1e-9)).sum()):
        raise ValueError(f"{outside:,} of {len(values):,} values lie outside the bounds {low:g} to {high:g}, which the interval rests on")
    n = len(values)
    if n < 2:
        return Interval(float(values.mean()) if n else math.nan, low, high)
    log_term = math.log(4 / (1 - confidence))
    radius = math.sqrt(2 * float(values.var(ddof=1)) * log_term / n) + 7 * (high - low) * log_term / (3 * (n - 1))
    mean = float(values.mean())
    return Interval(mean, max(low, mean - radius), min(high, mean + radius))
