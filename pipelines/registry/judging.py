"""Figures of two rankers on the same rows: what the gates and the test-then-train record are made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import metrics
from pipelines.lake.metrics import Metric
from pipelines.registry.gates import Measured

Floats = NDArray[np.floating[Any]]
Codes = NDArray[np.int64]


def ranker_figures(labels: Floats, new: Floats, old: Floats, user: Codes, this_hour: NDArray[np.bool_]) -> dict[str, Measured]:
    """Candidate against production by the first task: probabilities (n,) on gate-fold rows; ``this_hour`` marks the newest."""
    found = {"auc_per_user_difference": _difference(labels, new, old, user, "auc_per_user")}
    if this_hour.any():
        now = (labels[this_hour], new[this_hour], old[this_hour], user[this_hour])
        found["auc_per_user_difference_hour"] = _difference(*now, "auc_per_user")
    entropy = _difference(labels, new, old, user, "normalized_entropy")
    base = metrics.normalized_entropy(labels, old)
    found["normalized_entropy_ratio"] = Measured(entropy.value / base, entropy.low / base, entropy.high / base, entropy.n)
    slope = metrics.calibration_slope(labels, new)
    found["calibration_slope"] = Measured(slope, slope, slope, len(labels))
    return found


def prequential_record(
    labels: Floats, probabilities: Mapping[str, Floats], user: Codes, versions: Mapping[str, str]
) -> list[Metric]:
    """Each arm's figures on an hour that it had not seen, by the first task."""
    rows = []
    for arm, probability in probabilities.items():
        figures = {
            "auc_per_user": metrics.auc_per_user(labels, probability, user),
            "auc": metrics.auc(labels, probability),
            "normalized_entropy": metrics.normalized_entropy(labels, probability),
            "ndcg_at_10": metrics.ndcg_at_k(labels, probability, user, 10),
            "ece": metrics.expected_calibration_error(labels, probability, debiased=True),
            "calibration_slope": metrics.calibration_slope(labels, probability),
        }
        rows += [
            Metric(f"prequential_{name}", arm, value, n=len(labels), model_version=versions.get(arm))
            for name, value in figures.items()
            if np.isfinite(value)
        ]
    return rows


def user_codes(user_ids: pa.Array) -> Codes:
    """(n,) a number for each user."""
    return np.asarray(user_ids.dictionary_encode().indices.to_numpy().astype(np.int64))


def _difference(labels: Floats, new: Floats, old: Floats, user: Codes, metric: str) -> Measured:
    mean, low, high = metrics.user_bootstrap_difference(labels, new, old, user, metric)
    return Measured(mean, low, high, len(labels))
