"""What a strong engineer would use instead of the ranker, learning from the same candidates' past and seeing the same numbers.

A peer predicts an hour's candidates before it is told what came of them. Letters: n rows, F features.
"""

from collections import deque
from typing import Protocol

import lightgbm
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from river import compose, linear_model, optim, preprocessing

from models.metrics import auc
from models.records import RankerBatch
from pipelines.hours import hours_between

Floats = NDArray[np.float64]


class Peer(Protocol):
    name: str

    def predict(self, features: Floats) -> Floats | None: ...

    def observe(self, hour: str, features: Floats, label: Floats, group: NDArray[np.int64]) -> None: ...


def counters(batch: RankerBatch) -> Floats:
    """(n, F): item counters, item age, user counters, tag affinity, and how often and how lately the user met the item."""
    parts = (batch.item_counters, batch.item_age_h.unsqueeze(1), batch.user.counters, batch.cross)
    return torch.cat(parts, 1).double().numpy()


def similarities(batch: RankerBatch, vectors: torch.Tensor) -> Floats:
    """(n, 4): cosine of the text to mean, recency-weighted mean and nearest other item of the history, and the history's length."""
    units = F.normalize(vectors - vectors[1:].mean(0), dim=1) * (vectors.abs().sum(1, keepdim=True) > 0)
    found = []
    for start in range(0, len(batch), 8192):
        rows = batch.rows(slice(start, start + 8192))
        own, history = units[rows.item].unsqueeze(2), units[rows.user.history]  # (b, D, 1), (b, H, D)
        cosine = torch.bmm(history, own).squeeze(2)  # (b, H)
        there = rows.user.history > 0
        recency = there / (1 + rows.user.history_age_h / 24)
        other = there & (rows.user.history != rows.item.unsqueeze(1))
        count = there.sum(1)
        found.append(torch.stack([
            (cosine * there).sum(1) / count.clamp(min=1), (cosine * recency).sum(1) / recency.sum(1).clamp(min=1e-6),
            cosine.masked_fill(~other, -1.0).amax(1), count.float(),
        ], 1))  # fmt: skip
    return torch.cat(found).double().numpy()


class Popularity:
    """The item's own decayed counter, of the half-life that ordered the candidates best so far."""

    def __init__(self, columns: list[int]) -> None:
        self.name, self._columns, self._won = "popularity", columns, np.zeros(len(columns))

    def predict(self, features: Floats) -> Floats | None:
        return features[:, self._columns[int(self._won.argmax())]]

    def observe(self, hour: str, features: Floats, label: Floats, group: NDArray[np.int64]) -> None:
        self._won += [np.nan_to_num(auc(label, features[:, column]), nan=0.5) for column in self._columns]


class LambdaRank:
    """LightGBM, fitted anew every ``every_h`` hours on the last 28 days' candidates."""

    def __init__(self, name: str, every_h: int = 168, days: int = 28, **parameters: object) -> None:
        self.name, self._every_h, self._days = name, every_h, days
        self._parameters = {"n_estimators": 150, "num_leaves": 31, "min_child_samples": 50, "verbose": -1} | parameters
        self._seen: deque[tuple[str, Floats, Floats, NDArray[np.int64]]] = deque()
        self._model: lightgbm.LGBMRanker | None = None
        self._fitted = ""

    def predict(self, features: Floats) -> Floats | None:
        return None if self._model is None else np.asarray(self._model.predict(features))

    def observe(self, hour: str, features: Floats, label: Floats, group: NDArray[np.int64]) -> None:
        order = np.argsort(group, kind="stable")
        self._seen.append((hour, features[order].astype(np.float32), label[order], np.bincount(group)[np.unique(group)]))
        while hours_between(self._seen[0][0], hour) > 24 * self._days:
            self._seen.popleft()
        span = hours_between(self._seen[0][0], hour)
        if span >= 24 * 7 and (not self._fitted or hours_between(self._fitted, hour) >= self._every_h):
            features, label, sizes = (np.concatenate(parts) for parts in list(zip(*self._seen, strict=True))[1:])
            self._model, self._fitted = lightgbm.LGBMRanker(**self._parameters).fit(features, label, group=sizes), hour


class RiverRegression:
    """River's logistic regression on standardized logarithms, row by row."""

    name = "River logistic regression"

    def __init__(self, rate: float = 0.01) -> None:
        self._model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(optim.SGD(rate)))

    def predict(self, features: Floats) -> Floats | None:
        return np.array([self._model.predict_proba_one(row).get(True, 0.5) for row in self._rows(features)])

    def observe(self, hour: str, features: Floats, label: Floats, group: NDArray[np.int64]) -> None:
        for number, row in enumerate(self._rows(features)):
            self._model.learn_one(row, bool(label[number] >= 0.5))

    @staticmethod
    def _rows(features: Floats) -> list[dict[int, float]]:
        return [dict(enumerate(row)) for row in np.log1p(np.maximum(features, -0.99)).tolist()]
