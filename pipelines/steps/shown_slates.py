"""Slates that were shown, as off-policy work needs them: the draw, what was seen of it, and what it was worth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.hours import shift
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from pipelines.steps.examples import SLATE_LOG_HOURS

_DECISION_COLUMNS = (
    "slate_id", "user_id", "hour", "candidates", "logits", "action", "propensities", "source", "arm", "release_id",
    "feature_versions", "offsets", "categories", "category_cap", "pinned",
)  # fmt: skip
REWARD_QUANTILE = 0.995


@dataclass(frozen=True)
class ShownSlates:
    """Decisions (S rows) with what was seen: ``shown`` (S, K) down to the last counted position, ``reward`` (S, K).

    mismatched: shown positions that are not what was drawn; the slate counts down to the first of them.
    """

    decisions: pa.Table
    shown: NDArray[np.bool_]
    reward: NDArray[np.float32]
    mismatched: int

    def take(self, rows: NDArray[np.int64]) -> "ShownSlates":
        return ShownSlates(self.decisions.take(rows), self.shown[rows], self.reward[rows], self.mismatched)

    def __len__(self) -> int:
        return len(self.shown)


def read_shown_slates(settings: Settings, hours: Sequence[str], versions: dict[str, int]) -> ShownSlates:
    """Slates first shown in these hours. ``versions``: of training_examples, slate_log and slate_decisions."""
    seen = _shown_positions(settings, hours, versions)
    drawn_from = shift(hours[0], -SLATE_LOG_HOURS)
    drawn = (pc.field("hour") >= drawn_from) & (pc.field("hour") < hours[-1])
    wanted = drawn & pc.field("slate_id").isin(pa.array(seen["slate_id"].unique(), pa.string()))
    decisions = read_table(settings, "slate_decisions", version=versions["slate_decisions"], where=wanted, columns=_DECISION_COLUMNS)
    log = read_table(settings, "slate_log", version=versions["slate_log"], where=wanted, columns=["slate_id", "position", "item_id"])
    matched = seen.merge(log.to_pandas(), on=["slate_id", "position"], how="left", suffixes=("", "_drawn"))
    agrees = (matched["item_id"] == matched["item_id_drawn"]).to_numpy()
    shown, reward = _by_position(settings, decisions, matched[agrees])
    return ShownSlates(decisions, shown, _capped(reward), int((~agrees).sum()))


def _shown_positions(settings: Settings, hours: Sequence[str], versions: dict[str, int]) -> pd.DataFrame:
    """One row a (slate, position, item): the reward of all its showings together, by the last revision of each."""
    columns = ["example_id", "revision", "slate_id", "position", "item_id", "reward"]
    where = pc.field("slate_id").is_valid()
    found = read_table(settings, "training_examples", hours=hours, version=versions["training_examples"], where=where, columns=columns)
    frame = found.to_pandas().sort_values("revision", kind="stable").drop_duplicates("example_id", keep="last")
    return frame.groupby(["slate_id", "position", "item_id"], as_index=False)["reward"].sum()


def _by_position(settings: Settings, decisions: pa.Table, seen: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(S, K) shown, as an unbroken prefix, and reward."""
    size = settings.slates.size
    row = pd.Index(decisions["slate_id"].to_pylist()).get_indexer(seen["slate_id"])
    place = seen["position"].to_numpy()
    inside = (row >= 0) & (place < size)
    shown, reward = np.zeros((len(decisions), size), bool), np.zeros((len(decisions), size), np.float32)
    shown[row[inside], place[inside]] = True
    reward[row[inside], place[inside]] = seen["reward"].to_numpy()[inside]
    prefix = np.logical_and.accumulate(shown, axis=1)
    return prefix, np.where(prefix, reward, 0).astype(np.float32)


def _capped(reward: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rewards scaled down where a slate's sum exceeds the cap: a few heavy slates would else decide alone."""
    total = reward.sum(axis=1, keepdims=True)
    if not len(total):
        return reward
    cap = max(float(np.quantile(total, REWARD_QUANTILE)), 1e-6)
    return np.asarray(reward * np.minimum(1, cap / np.maximum(total, 1e-9)), dtype=np.float32)
