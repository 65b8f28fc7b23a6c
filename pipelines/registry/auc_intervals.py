"""Intervals of AUC per user: of a ranker on an hour, and of the difference of two on each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.metrics import user_bootstrap_difference
from pipelines.lake.metrics import Metric

if TYPE_CHECKING:
    from pipelines.registry.judging import Predicted

SLICES = "slice_auc_difference"
LEAST_ROWS, LEAST_POSITIVES = 2000, 200  # below, a slice's difference says little
_AUC, _TASK = "prequential_auc_per_user", "task "
Floats = NDArray[np.floating[Any]]


def with_auc_intervals(rows: Sequence[Metric], found: "Predicted") -> list[Metric]:
    """The rows, those of AUC per user with their 95 % intervals over users."""
    return [_with_interval(row, found) if row.name == _AUC else row for row in rows]


def auc_interval(labels: Floats, scores: Floats, user: NDArray[np.int64]) -> tuple[float, float]:
    """95 % of AUC per user, users resampled; nan where no user has both labels."""
    chance = np.zeros(len(scores))  # of equal scores the AUC of every user is a half
    _, low, high = user_bootstrap_difference(labels, scores, chance, user, "auc_per_user")
    return low + 0.5, high + 0.5


def slice_differences(
    labels: Floats, new: Floats, old: Floats, user: NDArray[np.int64], slices: Mapping[str, NDArray[np.bool_]]
) -> list[Metric]:
    """AUC per user of ``new`` less that of ``old`` (n,) on each slice (n,), with the 95 % interval over users and its rows."""
    found = []
    for name, rows in slices.items():
        mean, low, high = user_bootstrap_difference(labels[rows], new[rows], old[rows], user[rows], "auc_per_user")
        if np.isfinite(mean):
            found.append(Metric(SLICES, "ranker", mean, low, high, int(rows.sum()), name))
    return found


def thin_slices(labels: Floats, slices: Mapping[str, NDArray[np.bool_]]) -> dict[str, tuple[int, int]]:
    """Rows and positives of the slices that have too few of either to be judged."""
    counts = {name: (int(rows.sum()), int((labels[rows] >= 0.5).sum())) for name, rows in slices.items()}
    return {name: (n, positives) for name, (n, positives) in counts.items() if n < LEAST_ROWS or positives < LEAST_POSITIVES}


def _with_interval(row: Metric, found: "Predicted") -> Metric:
    task = list(found.tasks).index(row.slice.removeprefix(_TASK)) if row.slice.startswith(_TASK) else 0
    part = found.slices.get(row.slice, np.ones(len(found.labels), dtype=bool))
    low, high = auc_interval(found.labels[part, task], found.probabilities[row.subject][part, task], found.user[part])
    return replace(row, low=low, high=high)
