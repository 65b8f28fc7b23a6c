"""LightGBM's LambdaRank (or its logistic loss), fitted anew on the last weeks' candidates."""

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.ranker.peers.candidates import Candidates, Floats, Ints
from pipelines.hours import hours_between

if TYPE_CHECKING:
    import lightgbm

LEAST_DAYS = 7  # of candidates before the first fit
DEFAULT = {"rounds": 100, "every_h": 168, "days": 28, "objective": "lambdarank"}  # and LightGBM's own: 31 leaves, rate 0.1
DIMENSIONS = (
    ({"objective": "binary"},),
    ({"num_leaves": 15}, {"num_leaves": 63}, {"num_leaves": 127}),
    ({"rounds": 300}, {"rounds": 600}, {"rounds": 300, "learning_rate": 0.03}, {"rounds": 600, "learning_rate": 0.03}),
    ({"min_child_samples": 100},),
    ({"objective": "lambdarank", "lambdarank_truncation_level": 10}, {"objective": "lambdarank", "lambdarank_truncation_level": 100}),
    ({"days": 56},),
    ({"every_h": 24},),
)  # fmt: skip


class LambdaRank:
    """Refitted every ``every_h`` hours on ``days`` days. ``likeness``: sees how like the history an item is, too."""

    def __init__(self, likeness: bool, rounds: int, every_h: int, days: int, **parameters: object) -> None:
        self._likeness, self._rounds, self._every_h, self._days = likeness, rounds, every_h, days
        self._parameters = {"verbose": -1, "seed": 1, "deterministic": True, "force_row_wise": True} | parameters
        self._seen: deque[tuple[str, Floats, Floats, Ints]] = deque()
        self._model: lightgbm.Booster | None = None
        self._fitted = ""

    def predict(self, candidates: Candidates) -> Floats | None:
        return None if self._model is None else np.asarray(self._model.predict(self._features(candidates), raw_score=True))

    def observe(self, candidates: Candidates, label: Floats) -> None:
        order = np.argsort(candidates.group, kind="stable")
        features = self._features(candidates)[order].astype(np.float32)
        self._seen.append((candidates.hour, features, label[order], np.unique(candidates.group, return_counts=True)[1]))
        while hours_between(self._seen[0][0], candidates.hour) > 24 * self._days:
            self._seen.popleft()
        span = hours_between(self._seen[0][0], candidates.hour)
        if span >= 24 * LEAST_DAYS and (not self._fitted or hours_between(self._fitted, candidates.hour) >= self._every_h):
            self._fit(candidates.hour)

    def _features(self, candidates: Candidates) -> Floats:
        return np.concatenate([candidates.counters, candidates.likeness], axis=1) if self._likeness else candidates.counters

    def _fit(self, hour: str) -> None:
        import lightgbm

        features, label, sizes = (np.concatenate(parts) for parts in list(zip(*self._seen, strict=True))[1:])
        data = lightgbm.Dataset(features, label, group=sizes)
        self._model, self._fitted = lightgbm.train(self._parameters, data, self._rounds), hour
