"""Figures of arms on the same candidates, and what one arm gains over another, with users resampled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import metrics
from pipelines.evaluation.candidate_sets import SURFACE
from pipelines.registry.judging import surface_rows

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class ArmFigures:
    """Of one arm on some rows. nan where a class is missing.

    auc_per_set: mean AUC within candidate sets (impression_id), each counted once; auc_per_user: within users, weighted by rows.
    """

    arm: str
    slice: str
    rows: int
    users: int
    auc_per_set: float
    auc_per_user: float
    auc: float
    ndcg_10: float
    normalized_entropy: float
    ece: float


@dataclass(frozen=True)
class Gain:
    """Mean difference of AUC within candidate sets, ``arm`` less ``over``, with its 95 % interval over users."""

    arm: str
    over: str
    slice: str
    gain: float
    low: float
    high: float
    sets: int


@dataclass(frozen=True)
class Scored:
    """Candidates with a task's labels, and each arm's log odds (n,): nan where the arm did not score, as before the first release."""

    table: pa.Table
    logits: Mapping[str, Floats]
    known_user: Mask
    known_item: Mask

    def slices(self) -> dict[str, Mask]:
        """Rows of everything, of users and items that were new and that were not, and of each surface where there are several."""
        everything = np.ones(len(self.known_user), dtype=bool)
        found = {"all": everything, "new users": ~self.known_user, "known users": self.known_user}
        found |= {"new items": ~self.known_item, "known items": self.known_item}
        if SURFACE in self.table.column_names:
            found |= {f"{SURFACE} {name}": rows for name, rows in surface_rows(self.table[SURFACE]).items()}
        return {name: mask for name, mask in found.items() if mask.any() and (name == "all" or not mask.all())}

    def figures(self) -> list[ArmFigures]:
        """Each arm on each slice, on the rows that the arm scored."""
        return [self._of(arm, name, mask) for name, mask in self.slices().items() for arm in self.logits]

    def gains(self, arm: str) -> list[Gain]:
        """What the arm gains over each other one, by slice, on the rows that both scored."""
        return [
            gain for name, mask in self.slices().items() for other in self.logits
            if other != arm and (gain := self._gain(arm, other, name, mask)) is not None
        ]  # fmt: skip

    def _of(self, arm: str, name: str, mask: Mask) -> ArmFigures:
        mask = mask & ~np.isnan(self.logits[arm])
        scores, label, user, group = self.logits[arm][mask], *self._columns(mask)
        probability = 1 / (1 + np.exp(-scores))
        total, count = metrics.auc_sums(label, scores, group)
        both = 0 < (label >= 0.5).sum() < len(label)
        return ArmFigures(
            arm,
            name,
            rows=len(label),
            users=len(np.unique(user)),
            auc_per_set=_mean(total[count > 0] / count[count > 0]),
            auc_per_user=metrics.auc_per_user(label, scores, user),
            auc=metrics.auc(label, scores),
            ndcg_10=metrics.ndcg_at_k(label, scores, group, 10),
            normalized_entropy=metrics.normalized_entropy(label, probability) if both else float("nan"),
            ece=metrics.expected_calibration_error(label, probability, debiased=True),
        )

    def _gain(self, arm: str, over: str, name: str, mask: Mask) -> Gain | None:
        mask = mask & ~np.isnan(self.logits[arm]) & ~np.isnan(self.logits[over])
        label, user, group = self._columns(mask)
        new, count = metrics.auc_sums(label, self.logits[arm][mask], group)
        old, _ = metrics.auc_sums(label, self.logits[over][mask], group)
        there = count > 0
        if not there.any():
            return None
        owner = np.zeros(len(count), dtype=np.int64)
        owner[group] = user
        gain, low, high = metrics.user_bootstrap_mean(((new - old)[there] / count[there]), owner[there])
        return Gain(arm, over, name, gain, low, high, int(there.sum()))

    def _columns(self, mask: Mask) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """Labels, and a number for the user and the candidate set of each row."""
        names = [self.table[name].to_numpy(zero_copy_only=False)[mask] for name in ("user", "impression_id")]
        user, group = (np.unique(column, return_inverse=True)[1] for column in names)
        return self.table["label"].to_numpy()[mask], user, group


def as_record(by_task: Mapping[str, Scored], arm: str) -> dict[str, object]:
    """All figures for a file."""
    figures = [{"task": task, **asdict(one)} for task, scored in by_task.items() for one in scored.figures()]
    gains = [{"task": task, **asdict(one)} for task, scored in by_task.items() for one in scored.gains(arm)]
    return {"figures": figures, "gains": gains}


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
