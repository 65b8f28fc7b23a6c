"""Figures of ranking and calibration in numpy.

Letters: n rows. Labels count as positive from 0.5 up where a metric needs classes.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Array = NDArray[Any]

_EPSILON = 1e-7  # probabilities are kept this far from 0 and 1


def auc(labels: Array, scores: Array, weight: Array | None = None) -> float:
    """Area under the ROC curve, ties count half; nan where a class is missing."""
    order = np.argsort(scores, kind="stable")
    mass = np.ones(len(scores)) if weight is None else np.asarray(weight, dtype=np.float64)[order]
    positive = mass * (labels[order] >= 0.5)
    negative = mass - positive
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0]) if len(order) else np.zeros(0, dtype=np.int64)
    if positive.sum() == 0 or negative.sum() == 0:
        return float("nan")
    positive, negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / (positive.sum() * negative.sum()))


def auc_per_user(labels: Array, scores: Array, user: Array) -> float:
    """Mean over users that have both classes of their AUC, weighted by impressions; nan where there is none."""
    _, row = np.unique(user, return_inverse=True)
    total, count = auc_sums(labels, scores, row)
    return float(total.sum() / count.sum()) if count.sum() else float("nan")


def log_losses(labels: Array, probabilities: Array) -> Floats:
    """Cross-entropy (n,) in nats."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return np.asarray(-(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def normalized_entropy(labels: Array, probabilities: Array) -> float:
    """Log loss over that of the base rate (He et al. 2014): below 1 is better than knowing the rate only."""
    return float(log_losses(labels, probabilities).mean() / _base_entropy(labels))


def ndcg_at_k(labels: Array, scores: Array, group: Array, k: int) -> float:
    """Mean nDCG@k over groups that have a positive, gain = label, discount 1/log2(rank + 1)."""
    _, row = np.unique(group, return_inverse=True)
    best = _dcg_at_k(labels, labels, row, k)
    reached = _dcg_at_k(labels, scores, row, k)
    valid = best > 0
    return float((reached[valid] / best[valid]).mean()) if valid.any() else float("nan")


def expected_calibration_error(labels: Array, probabilities: Array, bins: int = 20, debiased: bool = False) -> float:
    """Mean |observed rate - mean probability| over bins of equal size, weighted by rows.

    debiased: the root mean *square* gap, less the sampling variance of each bin's rate (Kumar et al. 2019): about 0
    for a calibrated model at any number of rows, where the plain figure shows sqrt(bins / n).
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part) > 1]
    if not parts:
        return float("nan")
    size = np.array([len(part) for part in parts], dtype=np.float64)
    rate = np.array([labels[part].mean() for part in parts])
    gap = rate - np.array([probabilities[part].mean() for part in parts])
    if not debiased:
        return float(size @ np.abs(gap) / size.sum())
    square = gap**2 - rate * (1 - rate) / (size - 1)
    return float(np.sqrt(max(0.0, size @ square / size.sum())))


def calibration_slope(labels: Array, probabilities: Array) -> float:
    """Slope of a logistic regression of the label on the predicted logit: 1 is calibrated, below 1 overconfident."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return logistic_fit(np.log(p) - np.log1p(-p), labels)[1]


def calibration_slope_interval(
    labels: Array, probabilities: Array, user: NDArray[np.int64], confidence: float = 0.95
) -> tuple[float, float, float]:  # fmt: skip
    """(slope, low, high), users being what is independent: the sandwich estimator (Liang and Zeger 1986).

    user: (n,) whose row each is. Infinite ends for fewer than two users, and where all probabilities are alike.
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    logits = np.log(p) - np.log1p(-p)
    intercept, slope = logistic_fit(logits, labels)
    fitted = 1 / (1 + np.exp(-(intercept + slope * logits)))
    inputs = np.stack([np.ones(len(logits)), logits], axis=1)  # (n, 2)
    curvature = inputs.T @ (inputs * (fitted * (1 - fitted))[:, None]) + 1e-9 * np.eye(2)
    of_user = np.unique(user, return_inverse=True)[1]
    scores = np.stack([np.bincount(of_user, (labels - fitted) * column) for column in inputs.T], axis=1)  # (U, 2)
    if len(scores) < 2 or np.ptp(logits) == 0:
        return slope, -np.inf, np.inf
    inverse = np.linalg.inv(curvature)
    variance = (inverse @ (scores.T @ scores) @ inverse)[1, 1] * len(scores) / (len(scores) - 1)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.sqrt(variance))
    return slope, slope - half, slope + half


def logistic_fit(logits: Array, labels: Array) -> tuple[float, float]:
    """(intercept, slope) of a logistic regression of labels in 0..1 on one logit, by Newton steps."""
    inputs = np.stack([np.ones(len(logits)), np.asarray(logits, dtype=np.float64)], axis=1)  # (n, 2)
    beta = np.array([0.0, 1.0])
    for _ in range(25):
        fitted = 1 / (1 + np.exp(-inputs @ beta))
        curvature = inputs.T @ (inputs * (fitted * (1 - fitted))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, inputs.T @ (labels - fitted))
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0]), float(beta[1])


def user_difference(
    labels: Array, new: Array, old: Array, user: Array, metric: str, confidence: float = 0.95
) -> tuple[float, float, float]:  # fmt: skip
    """(mean, low, high) of metric(new) - metric(old), users being what is independent, both models on the same users.

    metric: `auc_per_user` (scores), `log_loss` or `normalized_entropy` (probabilities), each a ratio of sums over users; the pooled `auc`
    is no such ratio and is not offered; the base rate of `normalized_entropy` is held at that of all rows. By the linearized ratio
    estimator, without resampling. Infinite ends for fewer than two users; nan where no user has both labels. ValueError for another metric.
    """
    if metric not in _USER_SUMS:
        raise ValueError(f"no interval over users for metric {metric!r}; expected one of {sorted(_USER_SUMS)}")
    _, row = np.unique(user, return_inverse=True)
    (new_total, count), (old_total, _) = (_USER_SUMS[metric](labels, scores, row) for scores in (new, old))
    return _ratio_interval(new_total - old_total, count, confidence)


def user_bootstrap_mean(values: Array, user: Array, resamples: int = 1000, seed: int = 7) -> tuple[float, float, float]:
    """(mean, low, high) of the values, 95 %, users resampled with all of their values."""
    _, row = np.unique(user, return_inverse=True)
    total, count = np.bincount(row, values), np.bincount(row).astype(np.float64)
    times = np.random.default_rng(seed).poisson(1.0, (resamples, len(count))).astype(np.float64)
    weight = times @ count
    low, high = np.quantile((times @ total)[weight > 0] / weight[weight > 0], [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def mean_of_clusters(values: Array, user: Array, confidence: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of the values, users being what is independent: the linearized ratio estimator, without resampling.

    Infinite ends for fewer than two users.
    """
    _, row = np.unique(user, return_inverse=True)
    return _ratio_interval(np.bincount(row, values), np.bincount(row).astype(np.float64), confidence)


def _ratio_interval(total: Array, count: Array, confidence: float) -> tuple[float, float, float]:
    """Sum of totals over sum of counts, of users (U,) who are independent; users without a count are nobody."""
    users = int((count > 0).sum())
    if not users:
        return float("nan"), float("nan"), float("nan")
    mean = float(total.sum() / count.sum())
    if users < 2:
        return mean, -np.inf, np.inf
    left = total - mean * count
    half = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.sqrt((left**2).sum() * users / (users - 1)) / count.sum())
    return mean, mean - half, mean + half


def gini(amounts: Array) -> float:
    """Concentration of amounts (n,) of at least 0: 0 where all are equal, near 1 where one has everything; nan where nobody has any."""
    ordered = np.sort(np.asarray(amounts, dtype=np.float64))
    if not ordered.sum():
        return float("nan")
    count = len(ordered)
    return float((2 * np.arange(1, count + 1) - count - 1) @ ordered / (count * ordered.sum()))


def auc_sums(labels: Array, scores: Array, row: Array) -> tuple[Floats, Floats]:
    """AUC times rows, and rows, of each group (numbers from 0, ``row``); both 0 where a class is missing."""
    order = np.lexsort((scores, row))
    user, score = row[order], np.asarray(scores)[order]
    positive = (labels[order] >= 0.5).astype(np.float64)
    users = int(row.max()) + 1 if len(row) else 0
    starts = np.flatnonzero(np.r_[True, (np.diff(user) != 0) | (np.diff(score) != 0)]) if len(user) else user
    tie_positive, tie_size = np.add.reduceat(positive, starts), np.diff(np.r_[starts, len(user)])
    tie_negative, tie_user = tie_size - tie_positive, user[starts]
    negatives = np.bincount(tie_user, tie_negative, users)
    positives = np.bincount(tie_user, tie_positive, users)
    before = (np.cumsum(negatives) - negatives)[tie_user]  # negatives of the users that come earlier
    below = np.cumsum(tie_negative) - before - tie_negative / 2
    valid = (positives > 0) & (negatives > 0)
    area: Floats = np.bincount(tie_user, tie_positive * below, users) / np.where(valid, positives * negatives, 1)
    count = np.where(valid, positives + negatives, 0.0)
    return area * count, count


def _base_entropy(labels: Array) -> float:
    rate = np.full(1, np.clip(np.mean(labels), _EPSILON, 1 - _EPSILON))
    return float(log_losses(rate, rate)[0])


def _log_loss_sums(labels: Array, probabilities: Array, row: Array) -> tuple[Floats, Floats]:
    total = np.bincount(row, log_losses(labels, probabilities)).astype(np.float64)
    return total, np.bincount(row).astype(np.float64)


def _normalized_entropy_sums(labels: Array, probabilities: Array, row: Array) -> tuple[Floats, Floats]:
    total, count = _log_loss_sums(labels, probabilities, row)
    return total / _base_entropy(labels), count


_USER_SUMS: dict[str, Callable[[Array, Array, Array], tuple[Floats, Floats]]] = {
    "auc_per_user": auc_sums,
    "log_loss": _log_loss_sums,
    "normalized_entropy": _normalized_entropy_sums,
}


def _dcg_at_k(labels: Array, by: Array, row: Array, k: int) -> Floats:
    """DCG@k of each group with its rows in descending order of `by`."""
    order = np.lexsort((-np.asarray(by, dtype=np.float64), row))
    group = row[order]
    first = np.searchsorted(group, group, side="left")
    rank = np.arange(len(group)) - first
    gain = np.where(rank < k, np.asarray(labels)[order] / np.log2(rank + 2), 0.0)
    return np.bincount(group, gain).astype(np.float64)
