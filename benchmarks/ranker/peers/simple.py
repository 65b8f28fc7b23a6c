"""Time-aware popularity, and River's logistic regression."""

import numpy as np

from benchmarks.ranker.peers.candidates import Candidates, Floats
from models.metrics import auc


class Popularity:
    """The item's own decayed counter, of the half-life that ordered the candidates best so far."""

    def __init__(self, columns: list[int]) -> None:
        self._columns, self._won = columns, np.zeros(len(columns))

    def predict(self, candidates: Candidates) -> Floats | None:
        return candidates.counters[:, self._columns[int(self._won.argmax())]]

    def observe(self, candidates: Candidates, label: Floats) -> None:
        self._won += [np.nan_to_num(auc(label, candidates.counters[:, column]), nan=0.5) for column in self._columns]


class RiverRegression:
    """River's logistic regression on standardized logarithms of the counters, row by row."""

    def __init__(self, rate: float = 0.01) -> None:
        from river import compose, linear_model, optim, preprocessing

        self._model = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(optim.SGD(rate)))

    def predict(self, candidates: Candidates) -> Floats | None:
        chance = np.array([self._model.predict_proba_one(row).get(True, 0.5) for row in self._rows(candidates)])
        chance = np.clip(chance, 1e-12, 1 - 1e-12)
        return np.log(chance) - np.log1p(-chance)

    def observe(self, candidates: Candidates, label: Floats) -> None:
        for row, liked in zip(self._rows(candidates), label >= 0.5, strict=True):
            self._model.learn_one(row, bool(liked))

    @staticmethod
    def _rows(candidates: Candidates) -> list[dict[int, float]]:
        return [dict(enumerate(row)) for row in np.log1p(np.maximum(candidates.counters, -0.99)).tolist()]
