"""Intervals of AUC per user: of a ranker on an hour, and of the difference of two on each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.metrics import auc_sums, user_difference
from pipelines.lake.metrics import Metric
from pipelines.registry.gates import CONFIDENCE

if TYPE_CHECKING:
    from pipelines.registry.judging import Predicted

SLICES = "slice_auc_difference"
LEAST_ROWS, LEAST_POSITIVES = 2000, 200  # below, a slice's difference says little
_AUC, _TASK = "prequential_auc_per_user", "task "
Floats = NDArray[np.floating[Any]]


def with_auc_intervals(rows: Sequence[Metric], found: "Predicted") -> list[Metric]:
    """The rows, those of AUC per user with their 95 % intervals; all arms and slices by the same resamples of users."""
    resampled = Resampled(found.user)
    return [_with_interval(row, found, resampled) if row.name == _AUC else row for row in rows]


class Resampled:
    """Users (n,) drawn again and again: how often each is in which sample (Poisson, which for many users is the bootstrap)."""

    def __init__(self, user: NDArray[np.int64], resamples: int = 200, seed: int = 7) -> None:
        names, self._row = np.unique(user, return_inverse=True)
        self._times = np.random.default_rng(seed).poisson(1.0, (resamples, len(names))).astype(np.float64)

    def auc_interval(self, labels: Floats, scores: Floats, part: NDArray[np.bool_]) -> tuple[float, float]:
        """95 % of AUC per user on these rows (n,); nan where no user has both labels there."""
        total, count = auc_sums(labels[part], scores[part], self._row[part])
        times = self._times[:, : len(count)]  # numbers of users are ordered: beyond the last of the part there is nobody
        weight = times @ count
        sampled = (times @ total)[weight > 0] / weight[weight > 0]
        return tuple(np.quantile(sampled, [0.025, 0.975]).tolist()) if len(sampled) else (np.nan, np.nan)


def slice_differences(
    labels: Floats, new: Floats, old: Floats, user: NDArray[np.int64], slices: Mapping[str, NDArray[np.bool_]]
) -> list[Metric]:
    """AUC per user of ``new`` less that of ``old`` (n,) on each slice (n,), with the gates' interval over users and its rows."""
    found = []
    for name, rows in slices.items():
        mean, low, high = user_difference(labels[rows], new[rows], old[rows], user[rows], "auc_per_user", CONFIDENCE)
        if np.isfinite(mean):
            found.append(Metric(SLICES, "ranker", mean, low, high, int(rows.sum()), name))
    return found


def thin_slices(labels: Floats, slices: Mapping[str, NDArray[np.bool_]]) -> dict[str, tuple[int, int]]:
    """Rows and positives of the slices that have too few of either to be judged."""
    counts = {name: (int(rows.sum()), int((labels[rows] >= 0.5).sum())) for name, rows in slices.items()}
    return {name: (n, positives) for name, (n, positives) in counts.items() if n < LEAST_ROWS or positives < LEAST_POSITIVES}


def _with_interval(row: Metric, found: "Predicted", resampled: Resampled) -> Metric:
    task = list(found.tasks).index(row.slice.removeprefix(_TASK)) if row.slice.startswith(_TASK) else 0
    part = found.slices.get(row.slice, np.ones(len(found.labels), dtype=bool))
    low, high = resampled.auc_interval(found.labels[:, task], found.probabilities[row.subject][:, task], part)
    return replace(row, low=low, high=high)
