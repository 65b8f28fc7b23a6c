"""A log, batch by batch, to the value of the policy, its difference to what was earned, and a sentence.

Letters: U users seen so far, J ratios of an estimator.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.ope.estimators import OF_ACTIONS, OF_SLATES, Knobs, Ratios, lowest_reward
from models.ope.intervals import Interval, bootstrap_t_of_ratios
from models.ope.records import LoggedActions, LoggedSlateArrays

Floats = NDArray[np.float64]
Verdict = Literal["better", "not worse", "worse", "not shown", "not identifiable: needs staging"]

LEAST_EFFECTIVE = 1000.0
MOST_OUTSIDE = 0.05


@dataclass(frozen=True)
class Result:
    """By estimator its value, and its difference to what the behavior policy earned on the same rows; and what the weights looked like.

    effective_sample_size: (sum w)² / sum w². mean_weight: 1 but for chance where the propensities are right. clipped_fraction: rows whose
    weight was cut. outside: the target's mass on actions that the behavior policy never takes; None where the log does not say.
    """

    values: Mapping[str, Interval]
    differences: Mapping[str, Interval]
    earned: Interval
    rows: int
    users: int
    effective_sample_size: float
    max_importance_weight: float
    mean_weight: float
    clipped_fraction: float
    outside: float | None


@dataclass
class _Weights:
    """Sums over all rows."""

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    largest: float = 0.0
    clipped: int = 0
    outside: float | None = 0.0

    def add(self, log: LoggedActions | LoggedSlateArrays, knobs: Knobs) -> None:
        weight = log.importance_weight
        self.rows += len(weight)
        self.total += float(weight.sum())
        self.squares += float((weight**2).sum())
        self.largest = max(self.largest, float(weight.max(initial=0)))
        self.clipped += int((weight > knobs.clip).sum())
        self.outside = self.outside + float(log.outside.sum()) if log.outside is not None and self.outside is not None else None


@dataclass
class _Users:
    """Sums by user, in columns; a user's row is found by its number."""

    row: dict[int, int] = field(default_factory=dict)
    sums: Floats | None = None

    def add(self, user: NDArray[np.int64], columns: Floats) -> None:
        found, row = np.unique(user, return_inverse=True)
        if self.sums is None:
            self.sums = np.zeros((0, columns.shape[1]))
        rows = np.array([self.row.setdefault(int(one), len(self.row)) for one in found], dtype=np.int64)
        if (missing := len(self.row) - len(self.sums)) > 0:
            self.sums = np.concatenate([self.sums, np.zeros((max(missing, len(self.sums)), columns.shape[1]))])
        order = np.argsort(row, kind="stable")
        starts = np.searchsorted(row[order], np.arange(len(found)))
        self.sums[rows] += np.add.reduceat(columns[order], starts)

    @property
    def table(self) -> Floats:
        return self.sums[: len(self.row)] if self.sums is not None else np.zeros((0, 0))


class Evaluation:
    """Estimators by name, all of actions or all of slates; rows are added, never kept.

    uniform: the log was drawn uniformly. Without it propensities that are all the same are refused when the result is asked for: where
    a log has no propensities somebody wrote a constant, and every figure would be the average of the log.
    """

    def __init__(self, *estimators: str, knobs: Knobs | None = None, uniform: bool = False, seed: int = 7) -> None:
        unknown = [name for name in estimators if name not in OF_ACTIONS and name not in OF_SLATES]
        slates = [name for name in estimators if name in OF_SLATES]
        if unknown or not estimators or len(slates) not in (0, len(estimators)):
            known = f"of actions: {', '.join(OF_ACTIONS)}; of slates: {', '.join(OF_SLATES)}"
            raise ValueError(f"estimators are {', '.join(estimators) or 'none'}; expected some of one kind ({known})")
        self._names, self._knobs, self._uniform, self._seed = estimators, knobs or Knobs(), uniform, seed
        self._of_slates = bool(slates)
        self._users, self._weights = _Users(), _Weights()
        self._ratios: dict[str, int] = {}
        self._lowest: dict[str, float] = {}
        self._propensities = (math.inf, -math.inf)

    def add(self, log: LoggedActions | LoggedSlateArrays) -> None:
        """Raises TypeError for a log of the other kind, ValueError where an estimator lacks what it needs."""
        if not len(log):
            return
        parts: list[Ratios] = [[(log.gain, np.ones(len(log)))]]
        for name in self._names:
            if isinstance(log, LoggedSlateArrays) and self._of_slates:
                parts.append(OF_SLATES[name](log, self._knobs))
            elif isinstance(log, LoggedActions) and not self._of_slates:
                parts.append(OF_ACTIONS[name](log, self._knobs))
            else:
                raise TypeError(f"{name} judges {'slates' if self._of_slates else 'actions'}, found {type(log).__name__}")
            self._ratios[name] = len(parts[-1])
            if (lowest := lowest_reward(name, log)) is not None:
                self._lowest[name] = min(self._lowest.get(name, 0.0), lowest)
        self._users.add(log.user, np.stack([column for ratios in parts for pair in ratios for column in pair], 1))
        self._weights.add(log, self._knobs)
        seen = log.propensity[log.shown] if isinstance(log, LoggedSlateArrays) else log.propensity
        low, high = self._propensities
        self._propensities = min(low, float(seen.min(initial=math.inf))), max(high, float(seen.max(initial=-math.inf)))

    def _signs(self, name: str) -> list[float]:
        """What each ratio of the estimator counts."""
        clipped = name in self._lowest and math.isfinite(self._knobs.clip)
        return [1.0, self._lowest[name]] if clipped else [1.0] * self._ratios[name]

    def result(self, confidence: float = 0.95, resamples: int = 1000) -> Result:
        """Raises ValueError without rows, and for propensities that say nothing."""
        weights = self._weights
        if not weights.rows:
            raise ValueError("there is no logged row to judge by")
        low, high = self._propensities
        if high - low < 1e-9 and (low >= 1 or not self._uniform):
            said = "a log whose policy left nothing to chance cannot judge another one", "if the log was drawn uniformly, say so"
            raise ValueError(f"all propensities of {weights.rows:,} rows are {low:g}: {said[low < 1]}")
        sums = self._users.table.reshape(len(self._users.row), -1, 2)  # (U, 1 + all J, 2)

        def interval(ratios: Floats, signs: list[float]) -> Interval:
            return bootstrap_t_of_ratios(ratios, np.array(signs), confidence, self._seed, resamples)

        values, differences, at = {}, {}, 1
        for name in self._names:
            own, at = sums[:, at : at + self._ratios[name]], at + self._ratios[name]
            signs = self._signs(name)
            values[name] = interval(own, signs)
            differences[name] = interval(np.concatenate([own, sums[:, :1]], 1), [*signs, -1.0])
        return Result(
            values, differences, interval(sums[:, :1], [1.0]), weights.rows, len(sums),
            weights.total**2 / weights.squares if weights.squares else 0.0, weights.largest, weights.total / weights.rows,
            weights.clipped / weights.rows, None if weights.outside is None else weights.outside / weights.rows,
        )  # fmt: skip


def verdict(found: Result, estimator: str, margin: float = 0.0) -> Verdict:
    """What may be said of the target policy against the behavior policy: "not worse" is within `margin` below.

    Nothing is said below LEAST_EFFECTIVE effective rows, or with more than MOST_OUTSIDE of the target's mass where nothing was logged.
    """
    if found.effective_sample_size < LEAST_EFFECTIVE or (found.outside or 0) > MOST_OUTSIDE:
        return "not identifiable: needs staging"
    gain = found.differences[estimator]
    if gain.low > 0:
        return "better"
    if gain.high < -margin or (gain.high < 0 and margin == 0):
        return "worse"
    return "not worse" if gain.low > -margin else "not shown"
