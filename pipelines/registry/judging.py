"""Figures of two rankers on the same rows: what the gates and the test-then-train record are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models import metrics
from pipelines.lake.metrics import Metric
from pipelines.registry.auc_intervals import LEAST_POSITIVES, with_auc_intervals
from pipelines.registry.gates import CONFIDENCE, Measured, sliced

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]
SURFACES = 8  # that get figures of their own


def ranker_figures(
    labels: Floats, new: Floats, old: Floats, user: Codes, this_hour: NDArray[np.bool_], slices: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Measured]:
    """Candidate against production by the first task: probabilities (n,) on gate-fold rows; ``this_hour`` marks the newest.

    slices: rows (n,) by name; of those with enough of both labels order and entropy are compared too. What these rows cannot tell, as no
    user has both labels, is left out.
    """
    found = _compared(labels, new, old, user)
    if this_hour.any():
        now = (labels[this_hour], new[this_hour], old[this_hour], user[this_hour])
        found["auc_per_user_difference_hour"] = _difference(*now, "auc_per_user")
    found["calibration_slope"] = Measured(*metrics.calibration_slope_interval(labels, new, user, CONFIDENCE), len(labels))
    for name, rows in slices.items():
        found |= _of_slice(name, labels[rows], new[rows], old[rows], user[rows])
    return _told(found)


def task_figures(
    tasks: Sequence[str], labels: Floats, new: Floats, old: Floats, user: Codes, mature: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Measured]:
    """The same order and entropy by each further task, labels and probabilities (n, T), as the slice ``task <name>``.

    mature: of each task the rows (n,) whose labels are known; a task that is not there, or that a ranker does not know, is left out.
    """
    found: dict[str, Measured] = {}
    for number, task in enumerate(tasks):
        rows = mature.get(task)
        if number and rows is not None and np.isfinite(new[rows, number]).all() and np.isfinite(old[rows, number]).all():
            found |= _of_slice(f"task {task}", labels[rows, number], new[rows, number], old[rows, number], user[rows])
    return _told(found)


def _of_slice(name: str, labels: Floats, new: Floats, old: Floats, user: Codes) -> dict[str, Measured]:
    """Nothing where there are too few of either label."""
    positives = int((labels >= 0.5).sum())
    if min(positives, len(labels) - positives) < LEAST_POSITIVES:
        return {}
    return {sliced(figure, name): value for figure, value in _compared(labels, new, old, user).items()}


def _told(found: Mapping[str, Measured]) -> dict[str, Measured]:
    return {name: figure for name, figure in found.items() if np.isfinite(figure.value)}


def _compared(labels: Floats, new: Floats, old: Floats, user: Codes) -> dict[str, Measured]:
    entropy, base = _difference(labels, new, old, user, "normalized_entropy"), metrics.normalized_entropy(labels, old)
    return {
        "auc_per_user_difference": _difference(labels, new, old, user, "auc_per_user"),
        "normalized_entropy_ratio": Measured(entropy.value / base, entropy.low / base, entropy.high / base, entropy.n),
    }


@dataclass(frozen=True)
class Predicted:
    """An hour's impressions that no arm had seen: labels (n, T), each arm's probabilities (n, T), users (n,), and slices as masks (n,)."""

    tasks: Sequence[str]
    labels: Floats
    probabilities: Mapping[str, Floats]
    user: Codes
    slices: Mapping[str, NDArray[np.bool_]]


def prequential_record(found: Predicted, versions: Mapping[str, str]) -> list[Metric]:
    """Each arm's figures: all of the first task on all rows and on each slice, and all of each further task, as slice ``task <name>``."""
    everything = np.ones(len(found.labels), dtype=bool)
    parts = {"all": (0, everything)} | {name: (0, rows) for name, rows in found.slices.items()}
    parts |= {f"task {task}": (number, everything) for number, task in enumerate(found.tasks) if number}
    rows = []
    for arm, probability in found.probabilities.items():
        for name, (task, mask) in parts.items():
            figures = _figures(found.labels[mask, task], probability[mask, task], found.user[mask])
            n, version = int(mask.sum()), versions.get(arm)
            rows += [Metric(f"prequential_{key}", arm, value, n=n, slice=name, model_version=version) for key, value in figures.items()]
    return with_auc_intervals(rows, found)


def _figures(labels: Floats, probability: Floats, user: Codes) -> dict[str, float]:
    """Those that these rows can tell: nothing where all labels are alike, or a ranker does not know the task."""
    if not 0 < (labels >= 0.5).sum() < len(labels) or not np.isfinite(probability).all():
        return {}
    figures = {
        "auc_per_user": metrics.auc_per_user(labels, probability, user),
        "auc": metrics.auc(labels, probability),
        "normalized_entropy": metrics.normalized_entropy(labels, probability),
        "ndcg_at_10": metrics.ndcg_at_k(labels, probability, user, 10),
        "ece": metrics.expected_calibration_error(labels, probability, debiased=True),
        "calibration_slope": metrics.calibration_slope(labels, probability),
    }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def task_columns(values: NDArray[np.float64], known: Sequence[str], wanted: Sequence[str]) -> NDArray[np.float64]:
    """(n, T) of the wanted tasks from a ranker's columns (n, its tasks); nan for a task that it does not know."""
    unknown = np.full(len(values), np.nan)
    return np.stack([values[:, known.index(task)] if task in known else unknown for task in wanted], axis=1)


def surface_rows(surfaces: pa.Array | pa.ChunkedArray) -> dict[str, NDArray[np.bool_]]:
    """Rows (n,) of each of the SURFACES largest surfaces, the largest first."""
    counted = sorted(surfaces.drop_null().value_counts().to_pylist(), key=lambda found: (-found["counts"], found["values"]))
    names = [found["values"] for found in counted[:SURFACES]]
    return {name: pc.fill_null(pc.equal(surfaces, name), False).to_numpy(zero_copy_only=False) for name in names}


def user_codes(user_ids: pa.Array) -> Codes:
    """(n,) a number for each user."""
    return np.asarray(user_ids.dictionary_encode().indices.to_numpy().astype(np.int64))


def _difference(labels: Floats, new: Floats, old: Floats, user: Codes, metric: str) -> Measured:
    return Measured(*metrics.user_difference(labels, new, old, user, metric, CONFIDENCE), len(labels))
