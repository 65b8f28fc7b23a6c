"""What a peer is shown of an hour's candidates, and what all peers can do.

A peer predicts an hour's candidates before it is told what came of them.
Letters: n rows, F counters, U users, H history length, D text width.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.records import RankerBatch
from spark_jobs.ranker_inputs import CROSS, LIKED_TOGETHER

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_LIKED = torch.tensor([name in LIKED_TOGETHER for name in CROSS])


@dataclass(frozen=True)
class Candidates:
    """One hour's candidates as known before it. Item rows are rows of the log's text vectors, 0 is none."""

    hour: str
    counters: Floats  # (n, F) in the order of ``counters``
    likeness: Floats  # (n, 6) in the order of ``likeness``
    group: Ints  # (n,) the candidate set, numbered from 0 within the hour
    item: Ints  # (n,)
    user: Ints  # (n,) row of history
    history: Ints  # (U, H) the newest last


class Peer(Protocol):
    def predict(self, candidates: Candidates) -> Floats | None:
        """Logits (n,); None: the peer has learned nothing yet."""

    def observe(self, candidates: Candidates, label: Floats) -> None:
        """Learns what came of the candidates."""


def counters(batch: RankerBatch) -> Floats:
    """(n, F): item counters, item age, user counters, tag affinity, how often and how lately the user met the item, match of the search."""
    parts = (batch.item_counters, batch.item_age_h.unsqueeze(1), batch.user.counters, batch.cross[:, ~_LIKED])
    return torch.cat(parts, 1).double().numpy()


def likeness(batch: RankerBatch, vectors: torch.Tensor) -> Floats:
    """(n, 6): cosine of the text to mean, recency-weighted mean and nearest other item of the history, and the history's length; likeness
    by who liked both, to the history and to its newest items.
    """
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
    return torch.cat([torch.cat(found), batch.cross[:, _LIKED]], 1).double().numpy()


class RunningScale:
    """Standardizes log1p of the counters by the mean and spread of everything observed so far (Chan et al. 1979), within ±5."""

    def __init__(self) -> None:
        self._n, self._mean, self._square = 0, np.zeros(1), np.zeros(1)

    def __call__(self, values: Floats) -> Floats:
        spread = np.sqrt(self._square / max(1, self._n))
        return np.clip((_log(values) - self._mean) / np.where(spread > 0, spread, 1.0), -5, 5)

    def observe(self, values: Floats) -> None:
        logs = _log(values)
        mean, n = logs.mean(0), self._n + len(logs)
        shift = mean - self._mean
        self._square = self._square + ((logs - mean) ** 2).sum(0) + shift**2 * self._n * len(logs) / n
        self._mean, self._n = self._mean + shift * len(logs) / n, n


def _log(values: Floats) -> Floats:
    return np.log1p(np.maximum(values, 0.0))
