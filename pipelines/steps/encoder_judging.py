"""An adapted encoder beside the frozen one: rankers of the same recipe and data on the vectors of each, on users and hours held out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.metrics import auc_per_user, user_difference
from models.ranker import Ranker
from pipelines.registry.judging import user_codes
from pipelines.steps.example_batches import ExampleReader, Rows
from pipelines.steps.ranker_judging import probabilities

ALL, COLD = "all items", "new items"


@dataclass(frozen=True)
class Compared:
    """AUC per user of both on some rows, and the gain with its 95 % interval over users; nan where nobody has both classes."""

    rows_of: str
    frozen: float
    adapted: float
    gain: float
    low: float
    high: float
    rows: int
    users: int

    def __str__(self) -> str:
        where = f"{self.rows_of} ({self.rows:,} rows of {self.users:,} users)"
        if np.isnan(self.gain):
            return f"{where}: too few to judge by"
        return f"{where}: AUC per user {self.adapted:.4f} against {self.frozen:.4f}, {self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True)
class Arm:
    """A ranker, and a reader that has the vectors it was fitted on."""

    ranker: Ranker
    reader: ExampleReader


def compare(rows: Rows, frozen: Arm, adapted: Arm, known_items: NDArray[np.int64]) -> list[Compared]:
    """On all of these rows, and on those of items that no example showed before the rows' hours. ``known_items``: item rows."""
    if not len(rows.user_ids):
        return [_unknown(name, 0, 0) for name in (ALL, COLD)]
    labels, user = rows.batch.labels[:, 0].double().numpy(), user_codes(rows.user_ids)
    new, old = (probabilities(arm.ranker, rows, arm.reader) for arm in (adapted, frozen))
    cold = ~np.isin(rows.batch.item.numpy(), known_items)
    return [_compared(name, labels[m], new[m], old[m], user[m]) for name, m in ((ALL, np.ones(len(cold), bool)), (COLD, cold))]


def _compared(
    name: str, labels: NDArray[np.float64], new: NDArray[np.float64], old: NDArray[np.float64], user: NDArray[np.int64]
) -> Compared:
    users = len(np.unique(user))
    if not len(labels) or np.isnan(auc_per_user(labels, new, user)):
        return _unknown(name, len(labels), users)
    gain, low, high = user_difference(labels, new, old, user, "auc_per_user")
    return Compared(name, auc_per_user(labels, old, user), auc_per_user(labels, new, user), gain, low, high, len(labels), users)


def _unknown(name: str, rows: int, users: int) -> Compared:
    nan = float("nan")
    return Compared(name, nan, nan, nan, nan, nan, rows, users)
