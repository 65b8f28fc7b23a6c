"""Comparing two arms while looking at them every hour: intervals and tests that hold at all looks together.

Arms are drawn anew every hour, so that the hours' differences are independent given the past, whoever comes back. The interval is the
Gaussian mixture boundary of Robbins (1970) in the asymptotic form of Waudby-Smith et al. (arXiv 2103.06476); the sample-ratio test is
the mixture martingale of Lindon and Malek (arXiv 2011.03567). Letters: H hours; columns are champion, challenger.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betaln

Floats = NDArray[np.float64]
POWER = 0.8
_Z_POWER = 0.8416  # the normal quantile of POWER
_CONCENTRATION = 1000.0  # of the prior around the planned ratio: shares that are off by some percent are found soonest


@dataclass(frozen=True)
class HourlyArms:
    """Users' rewards by hour and arm: counts, means, and variances of one user's reward, each (H, 2)."""

    count: Floats
    mean: Floats
    variance: Floats

    @property
    def usable(self) -> "HourlyArms":
        """The hours in which both arms have two users or more: of others there is no variance."""
        rows = (self.count >= 2).all(axis=1)
        return HourlyArms(self.count[rows], self.mean[rows], self.variance[rows])


@dataclass(frozen=True)
class Interval:
    """A mean difference, challenger less champion, and its always-valid interval."""

    mean: float
    low: float
    high: float


def confidence_sequence(arms: HourlyArms, alpha: float, planned: float) -> Interval:
    """Mean difference over users, weighted by what an hour can tell, with an interval that at level ``alpha`` holds at every hour.

    planned: users an arm at which it is tightest. Without a usable hour it is the whole line.
    """
    found = arms.usable
    if not len(found.count):
        return Interval(0.0, -math.inf, math.inf)
    mean, spread, weight = _weighted(found)
    one_user = _pooled_variance(found)
    half = _boundary(spread, alpha, planned / 2 * one_user) / weight if one_user > 0 else 0.0
    return Interval(mean, mean - half, mean + half)


def standard_error(arms: HourlyArms) -> float:
    """Of the mean difference, at one look. Infinite without a usable hour."""
    found = arms.usable
    if not len(found.count):
        return math.inf
    _, spread, weight = _weighted(found)
    return math.sqrt(spread) / weight


def sample_ratio_p(count: Floats, share: float) -> float:
    """Always-valid p-value that users (2,) or (H, 2) fell into the challenger's arm with probability ``share``."""
    champion, challenger = (float(total) for total in np.atleast_2d(count).sum(axis=0))
    a, b = _CONCENTRATION * share, _CONCENTRATION * (1 - share)
    evidence = betaln(a + challenger, b + champion) - betaln(a, b) - challenger * math.log(share) - champion * math.log(1 - share)
    return float(min(1.0, math.exp(-min(evidence, 700.0))))


def users_needed(deviation: float, effect: float, alpha: float, planned: float, share: float = 0.5) -> float:
    """Users of both arms until a difference of ``effect`` is told from none with a chance of ``POWER``, by the confidence sequence.

    deviation: standard deviation of one user's reward. Infinite for no effect.
    """
    if effect <= 0 or deviation <= 0:
        return math.inf if effect <= 0 else 0.0
    one = deviation**2

    def short(users: float) -> float:
        weight = users * share * (1 - share)
        spread = weight * one
        return (_boundary(spread, alpha, planned / 2 * one) + _Z_POWER * math.sqrt(spread)) / weight - effect

    highest = 1e3
    while short(highest) > 0:
        highest *= 10
    return float(brentq(short, 1.0, highest)) if short(1.0) > 0 else 1.0


def error_share(number: int, alpha: float) -> float:
    """What of ``alpha`` the ``number``-th of a series of challengers may use, so that all of them together use no more."""
    return alpha * 6 / (math.pi * number) ** 2


def _boundary(spread: float, alpha: float, planned_spread: float) -> float:
    """How far a sum of this variance strays at most from its mean, at any time, but with probability ``alpha``."""
    logs = -2 * math.log(alpha)
    rate = (logs + math.log(logs + 1)) / planned_spread
    return math.sqrt(2 * (spread * rate + 1) / rate * math.log(math.sqrt(spread * rate + 1) / alpha))


def _weighted(found: HourlyArms) -> tuple[float, float, float]:
    """Mean difference of usable hours by what each can tell, the variance of its weighted sum, and the sum of the weights."""
    weight = 1 / (1 / found.count).sum(axis=1)  # (H,) half the harmonic mean of both counts
    spread = float((weight**2 * (found.variance / found.count).sum(axis=1)).sum())
    total = float(weight.sum())
    return float((weight * (found.mean[:, 1] - found.mean[:, 0])).sum()) / total, spread, total


def _pooled_variance(arms: HourlyArms) -> float:
    return float(np.average(arms.variance, weights=arms.count))
