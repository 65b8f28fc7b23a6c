"""Drift of one figure of users against a reference: population stability index, its null mean, and what is found among many.

Letters: n users of the sample, r rows of the reference, B bins. Users are what is independent: the sample has one row a user, and the
reference counts as many users as its rows are worth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

Floats = NDArray[np.float64]

BINS = 10
LEAST_EXPECTED = 5.0  # users a bin of the smaller side: below that the chi-square law does not hold
LEAST_SHARE = 0.025


@dataclass(frozen=True)
class Drift:
    """``psi`` as it is, its mean where nothing drifts, the probability of a larger one then, and how many users the sample has."""

    psi: float
    null_mean: float
    p_value: float
    users: int

    @property
    def excess(self) -> float:
        """0 on average where nothing drifts, whatever the sizes are; above about 0.1 is moderate, above 0.25 large."""
        return self.psi - self.null_mean


def numeric_drift(sample: Floats, reference: Floats, reference_users: NDArray[np.int64]) -> Drift:
    """Of finite numbers in up to ten bins of equal size of the reference; merged where they would hold too few.

    sample: (n,); reference: (r,), of whom: (r,). A reference of one value has two bins: that value, and any other.
    """
    known = effective_users(reference_users)
    edges = quantile_edges(reference, _least_share(len(sample), known))
    if len(edges):
        here, there = (np.bincount(np.searchsorted(edges, of), minlength=len(edges) + 1) for of in (sample, reference))
        return _drift(here, there, known)
    values, times = np.unique(reference, return_counts=True)
    usual = values[times.argmax()]
    here, there = (np.bincount(of != usual, minlength=2) for of in (sample, reference))
    return _drift(here, there, known) if here[1] >= LEAST_EXPECTED else Drift(0.0, 0.0, 1.0, len(sample))


def categorical_drift(sample: NDArray[np.object_], reference: NDArray[np.object_], reference_users: NDArray[np.int64]) -> Drift:
    """Of categories; those that are rare in the reference, or not there, are one bin."""
    known = effective_users(reference_users)
    names, times = np.unique(reference, return_counts=True)
    common = list(names[times / len(reference) >= _least_share(len(sample), known)])
    here, there = (np.array([*((of == name).sum() for name in common), (~np.isin(of, common)).sum()]) for of in (sample, reference))
    if max(here[-1], there[-1]) < LEAST_EXPECTED:
        here, there = here[:-1], there[:-1]
    return _drift(here, there, known) if len(here) > 1 else Drift(0.0, 0.0, 1.0, len(sample))


def population_stability_index(share: Floats, reference: Floats) -> float:
    """Σ (p − q) ln(p / q) over the shares (B,) of the bins, all above 0 (Yurdakul 2018): 0 where they are the same."""
    return float(((share - reference) * np.log(share / reference)).sum())


def null_mean(bins: int, users: float, reference_users: float) -> float:
    """Mean of the index where nothing drifts: (B − 1)(1/n + 1/m). Over 1/n + 1/m it is chi-square of B − 1 degrees (Yurdakul 2018)."""
    return (bins - 1) * (1 / users + 1 / reference_users)


def effective_users(user: NDArray[np.int64]) -> float:
    """How many independent rows these (r,) are worth where all rows of a user are alike: (Σ k)² / Σ k² (Kish 1965), k rows a user."""
    rows = np.unique(user, return_counts=True)[1].astype(np.float64)
    return float(rows.sum() ** 2 / (rows**2).sum()) if len(rows) else 0.0


def quantile_edges(reference: Floats, least_share: float) -> Floats:
    """Upper edges, included, of all bins but the last: quantiles of the reference, those left out that would bound too small a bin."""
    ordered = np.sort(reference)
    edges, below = list[float](), 0.0
    for edge in np.unique(np.quantile(ordered, np.arange(1, BINS) / BINS, method="inverted_cdf")):
        upto = float(np.searchsorted(ordered, edge, side="right")) / len(ordered)
        if upto - below >= least_share and 1 - upto >= least_share:
            edges.append(float(edge))
            below = upto
    return np.array(edges)


def discoveries(p_values: Floats, rate: float = 0.05) -> NDArray[np.bool_]:
    """Which of many are found at this false-discovery rate (Benjamini and Hochberg 1995)."""
    order = np.argsort(p_values, kind="stable")
    passing = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1) / max(1, len(order)))
    found = np.zeros(len(order), dtype=bool)
    found[order[: passing.max() + 1 if len(passing) else 0]] = True
    return found


def _least_share(users: float, reference_users: float) -> float:
    return max(LEAST_SHARE, LEAST_EXPECTED / max(1.0, min(users, reference_users)))


def _drift(sample: NDArray[np.int64], reference: NDArray[np.int64], reference_users: float) -> Drift:
    """Of counts (B,) of both."""
    users, bins = int(sample.sum()), len(sample)
    psi = population_stability_index(_smoothed(sample, users), _smoothed(reference, reference_users))
    expected = null_mean(bins, users, reference_users)
    return Drift(psi, expected, float(chdtrc(bins - 1, psi * (bins - 1) / expected)), users)


def _smoothed(counts: NDArray[np.int64], users: float) -> Floats:
    """Shares (B,) of so many users, half a user added to each bin: an empty one would make the index infinite."""
    return np.asarray((counts / counts.sum() * users + 0.5) / (users + 0.5 * len(counts)))
