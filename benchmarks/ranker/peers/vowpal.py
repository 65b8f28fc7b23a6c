"""Vowpal Wabbit's logistic regression by its Python path, row by row."""

import numpy as np

from benchmarks.ranker.peers.candidates import Candidates, Floats, RunningScale
from spark_jobs.ranker_inputs import CROSS, LIKED_TOGETHER

PAIRS = len(CROSS) - len(LIKED_TOGETHER)  # the last columns of the counters are about user and item together
DEFAULT = {"arguments": ""}  # adaptive, normalized, invariant steps with rate 0.5, as VW has them
DIMENSIONS = (({"arguments": "-l 0.1"}, {"arguments": "-l 0.02"}, {"arguments": "-q iu"}, {"arguments": "-q iu -l 0.1"}),)


class VowpalWabbit:
    """Numbers standardized, in namespaces of the item, of the user and of both (i, u, x); 2^18 weights."""

    def __init__(self, arguments: str) -> None:
        import vowpalwabbit

        self._learner = vowpalwabbit.Workspace(f"--loss_function logistic --quiet -b 18 {arguments}")
        self._scale = RunningScale()

    def predict(self, candidates: Candidates) -> Floats | None:
        return np.array([self._learner.predict(line) for line in self._lines(candidates)])

    def observe(self, candidates: Candidates, label: Floats) -> None:
        for line, liked in zip(self._lines(candidates), label >= 0.5, strict=True):
            self._learner.learn(f"{'1' if liked else '-1'} {line}")
        self._scale.observe(candidates.counters)

    def _lines(self, candidates: Candidates) -> list[str]:
        return [as_text(row) for row in self._scale(candidates.counters).tolist()]


def as_text(row: list[float]) -> str:
    """VW's text of a row of ``counters``: the item's counters and age, the user's counters, what is about both."""
    of_user = (len(row) - PAIRS - 1) // 2
    parts = {"i": row[: of_user + 1], "u": row[of_user + 1 : -PAIRS], "x": row[-PAIRS:]}
    return " ".join(f"|{name} " + " ".join(f"{n}:{value:.5g}" for n, value in enumerate(part)) for name, part in parts.items())
