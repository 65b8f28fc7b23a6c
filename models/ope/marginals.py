"""The probability of an item at a position of a Plackett-Luce slate, whatever stands above it.

Letters: n slates, C candidates, K positions, Q nodes of the quadrature.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NODES = 81
_LAST_NODE = 3.0  # of the double exponential rule: beyond, weights are below 1e-12
_CELLS_AT_ONCE = 8_000_000


def item_position_marginals(logits: Floats, action: NDArray[np.int64], nodes: int = NODES) -> Floats:
    """(n, K): probability that the item `action` (n, K) stands at its position in a draw by `logits` (n, C), -inf for no candidate.

    A Plackett-Luce draw is a race of exponential times with rates exp(logit) (Luce 1959): an item is k-th if k - 1 of the others came
    before it. With u = exp(-time), the integral over the item's own time runs over (0, 1) and is taken by Gauss-Legendre; sampled
    marginals would bias 1 / marginal upwards.
    """
    rates = np.exp(logits - logits.max(1, keepdims=True))  # (n, C)
    at_once = max(1, _CELLS_AT_ONCE // (action.shape[1] ** 2 * nodes))
    parts = [_marginals(rates[first : first + at_once], action[first : first + at_once], nodes) for first in range(0, len(rates), at_once)]
    return np.concatenate(parts) if parts else np.zeros(action.shape)


def _marginals(rates: Floats, action: NDArray[np.int64], nodes: int) -> Floats:
    log_share, weight = _nodes(nodes)  # (Q,)
    own = np.take_along_axis(rates, action, 1)  # (n, K)
    time = -log_share / np.where(own > 0, own, 1.0)[..., None]  # (n, K, Q)
    most = action.shape[1]
    before = np.zeros((*time.shape, most))  # (n, K, Q, most): how many came before, capped
    before[..., 0] = 1.0
    for candidate in range(rates.shape[1]):
        other = (action != candidate)[..., None]  # (n, K, 1)
        came = np.where(other, -np.expm1(-rates[:, candidate, None, None] * time), 0.0)[..., None]  # (n, K, Q, 1)
        moved = before * came
        before -= moved
        before[..., 1:] += moved[..., :-1]
    place = np.arange(most)[None, :, None, None]
    chance = (np.take_along_axis(before, np.broadcast_to(place, (*before.shape[:3], 1)), -1)[..., 0] * weight).sum(-1)
    return np.where(own > 0, chance, 0.0)


def _nodes(count: int) -> tuple[Floats, Floats]:
    """log s and weight of the rule's nodes on (0, 1)."""
    t = np.linspace(-_LAST_NODE, _LAST_NODE, count)
    odds = np.pi * np.sinh(t)  # s = 1 / (1 + exp(-odds))
    weight = np.pi * np.cosh(t) * np.exp(-np.logaddexp(0, -odds) - np.logaddexp(0, odds)) * (t[1] - t[0])
    return -np.logaddexp(0, -odds), weight
