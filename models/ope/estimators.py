"""The estimators: each gives one row a decision or slate, as numerator and denominator of one or two ratios.

Letters: n decisions or slates, K positions. w is the importance weight, q a reward model's prediction, v its mean under the target policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.ope.records import LoggedActions, LoggedSlateArrays

Floats = NDArray[np.float64]
Ratios = list[tuple[Floats, Floats]]


@dataclass(frozen=True)
class Knobs:
    """clip: the largest importance weight; switch: above it switch_dr trusts the reward model alone; shrink: the λ of dr_os."""

    clip: float = np.inf
    switch: float = 10.0
    shrink: float = 100.0


def _mean(values: Floats) -> Ratios:
    return [(values, np.ones(len(values)))]


def _from_lowest(values: Floats, lost: Floats, knobs: Knobs) -> Ratios:
    """Mean of the values, and, with a clip, of the weight it took: that counts times the lowest reward, so that no clip raises a value."""
    return [*_mean(values), *_mean(lost)] if np.isfinite(knobs.clip) else _mean(values)


def _weight(log: LoggedActions, knobs: Knobs) -> Floats:
    return np.minimum(log.importance_weight, knobs.clip)


def _model(log: LoggedActions) -> tuple[Floats, Floats]:
    if log.predicted is None or log.expected is None:
        raise ValueError("this estimator needs a reward model: give predicted and expected, or leave it out")
    return log.predicted, log.expected


def ipw(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Inverse propensity weighting (Horvitz and Thompson 1952): mean of w r."""
    weight = _weight(log, knobs)
    return _from_lowest(weight * log.reward, 1 - weight, knobs)


def snipw(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Self-normalized (Swaminathan and Joachims 2015): sum of w r over sum of w."""
    weight = _weight(log, knobs)
    return [(weight * log.reward, weight)]


def direct_method(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Mean of v (Beygelzimer and Langford 2009)."""
    return _mean(_model(log)[1])


def doubly_robust(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Mean of v + w (r - q) (Dudík et al. 2011)."""
    predicted, expected = _model(log)
    return _mean(expected + _weight(log, knobs) * (log.reward - predicted))


def sndr(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Mean of v, plus sum of w (r - q) over sum of w (Thomas and Brunskill 2016)."""
    predicted, expected = _model(log)
    weight = _weight(log, knobs)
    return [*_mean(expected), (weight * (log.reward - predicted), weight)]


def switch_dr(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Doubly robust where w is at most `switch`, the direct method elsewhere (Wang et al. 2017)."""
    predicted, expected = _model(log)
    weight = log.importance_weight
    return _mean(expected + weight * (weight <= knobs.switch) * (log.reward - predicted))


def dr_os(log: LoggedActions, knobs: Knobs) -> Ratios:
    """Doubly robust with optimistic shrinkage: w becomes λ w / (w² + λ) (Su et al. 2020)."""
    predicted, expected = _model(log)
    weight = log.importance_weight
    shrunk = knobs.shrink * weight / (weight**2 + knobs.shrink)
    return _mean(expected + shrunk * (log.reward - predicted))


def sips(log: LoggedSlateArrays, knobs: Knobs) -> Ratios:
    """Standard IPS: the weight of the whole slate on all its rewards; holds for any user behavior."""
    weight = np.minimum(log.importance_weight, knobs.clip)
    return _from_lowest(weight * log.gain, 1 - weight, knobs)


def iips(log: LoggedSlateArrays, knobs: Knobs) -> Ratios:
    """Independent IPS (Li et al. 2018): each reward by its own item and position, which is true where positions do not touch each other."""
    if log.marginal is None or log.target_marginal is None:
        raise ValueError("iips needs the probability of each item at its position: give marginal and target_marginal, or leave it out")
    weight = np.minimum(log.target_marginal / np.where(log.shown, log.marginal, 1.0), knobs.clip)
    return _from_lowest(np.where(log.shown, weight * log.reward, 0.0).sum(1), np.where(log.shown, 1 - weight, 0.0).sum(1), knobs)


def rips(log: LoggedSlateArrays, knobs: Knobs) -> Ratios:
    """Reward-interaction IPS (McInerney et al. 2020): each reward by the items down to it, which is true where people look from the top."""
    weight = np.minimum(log.prefix_weight, knobs.clip)
    return _from_lowest(np.where(log.shown, weight * log.reward, 0.0).sum(1), (1 - weight).sum(1), knobs)


def cascade_dr(log: LoggedSlateArrays, knobs: Knobs) -> Ratios:
    """Cascade doubly robust (Kiyohara et al. 2022): sum over positions of W_k (r_k - q_k) + W_{k-1} v_k, W the weight down to there."""
    if log.predicted is None or log.expected is None:
        raise ValueError("cascade_dr needs a reward model: give predicted and expected, or leave it out")
    weight = np.minimum(log.prefix_weight, knobs.clip)
    above = np.concatenate([np.ones((len(weight), 1)), weight[:, :-1]], 1)
    terms = weight * (log.reward - log.predicted) + above * log.expected
    return _mean(np.where(log.shown, terms, 0.0).sum(1))


OF_ACTIONS: Mapping[str, Callable[[LoggedActions, Knobs], Ratios]] = {
    one.__name__: one for one in (ipw, snipw, direct_method, doubly_robust, sndr, switch_dr, dr_os)
}
OF_SLATES: Mapping[str, Callable[[LoggedSlateArrays, Knobs], Ratios]] = {one.__name__: one for one in (sips, iips, rips, cascade_dr)}

def lowest_reward(name: str, log: LoggedActions | LoggedSlateArrays) -> float | None:
    """At most 0: of a whole slate, or of a position, whichever the estimator weighs; None where no reward is weighed by itself."""
    if name not in (ipw.__name__, sips.__name__, iips.__name__, rips.__name__):
        return None
    if isinstance(log, LoggedSlateArrays) and name != sips.__name__:
        return float(np.where(log.shown, log.reward, 0.0).min(initial=0.0))
    return float(log.gain.min(initial=0.0))
