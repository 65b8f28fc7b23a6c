"""A user's slate as it was drawn and logged, and how probable it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from models.records import SlateLimits
from models.slates import conditional_log_probs
from pipelines.errors import UserError
from pipelines.lake.tables import read_table
from pipelines.local.explanation.records import DrawExplained, SlateItem
from pipelines.settings import Settings
from spark_jobs.candidates import CANDIDATE_FEATURES
from spark_jobs.contracts import DEFAULT_USER

_UTILITY = CANDIDATE_FEATURES.index("utility")


@dataclass(frozen=True)
class Row:
    """The scored row, the slate's decision and its log by position."""

    scored: Mapping[str, Any]
    decision: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]

    @property
    def feature_versions(self) -> dict[str, int]:
        return {entry["table"]: entry["version"] for entry in self.decision["feature_versions"]}

    @property
    def place(self) -> int:
        """Of the item among the candidates."""
        found: int = self.decision["action"][self.scored["position"]]
        return found

    @property
    def utilities(self) -> np.ndarray:
        """(C,) float64: log-odds of the expected reward of each candidate, as logged."""
        features = np.array(self.decision["candidate_features"]).reshape(len(self.decision["candidates"]), -1)
        return features[:, _UTILITY]


def read_row(settings: Settings, user_id: str, item_id: str | None) -> Row:
    """The user's row of this item, else the first one, with the draw that it came from.

    Raises UserError for a user without rows, an item that is not in the slate, and a draw that is not kept any more.
    """
    mine = (pc.field("user_id") == user_id) & (pc.field("surface") == settings.slates.surface)
    rows = sorted(read_table(settings, "scores", where=mine).to_pylist(), key=lambda row: row["position"])
    if not rows:
        raise UserError(
            f"user {user_id!r} has no scored rows: unknown, or new since the last scored hour; `recloop explain {DEFAULT_USER}` explains "
            "what such users are shown, and `recloop top` names some who have rows"
        )
    scored = next((row for row in rows if item_id in (None, row["item_id"])), None)
    if scored is None:
        held = ", ".join(row["item_id"] for row in rows)
        raise UserError(f"item {item_id!r} is not in the slate of user {user_id!r}, which holds {held}; name one of these, or none")
    hours, of_slate = [scored["hour"]], pc.field("slate_id") == scored["slate_id"]
    decisions, log = (read_table(settings, name, hours=hours, where=of_slate).to_pylist() for name in ("slate_decisions", "slate_log"))
    if not decisions or not log:
        missing = "slate_decisions" if not decisions else "slate_log"
        raise UserError(
            f"{missing} holds nothing of slate {scored['slate_id']} of {scored['hour']}: past retention, or lost; `recloop verify` tells"
        )
    return Row(scored, decisions[0], sorted(log, key=lambda row: row["position"]))


def explain_draw(row: Row, titles: Mapping[str, str]) -> DrawExplained:
    """Probabilities by the logged logits, under the limits that bound the draw."""
    decision, scored, position = row.decision, row.scored, row.scored["position"]
    logits, utilities = np.array(decision["logits"]), row.utilities
    logged = np.array([entry["propensity"] for entry in row.log])
    pinned = decision["pinned"] or []
    return DrawExplained(
        slate_id=scored["slate_id"], hour=scored["hour"], surface=scored["surface"], source=scored["source"],
        reason=_spoken(scored["reason"], titles), arm=decision["arm"], arm_share=decision["arm_share"], release_id=decision["release_id"],
        versions=decision["versions"], feature_versions=row.feature_versions, rules=decision["rules"], seed=decision["seed"],
        temperature=decision["temperature"], candidates=len(logits), position=position, logit=float(logits[row.place]),
        rank=_rank(logits, row.place), rank_by_score=_rank(utilities, row.place), propensity=float(logged[position]),
        first_probability=float(_propensities(decision, [row.place])[0]), prefix_probability=float(logged[: position + 1].prod()),
        propensity_error=float(np.abs(_propensities(decision, decision["action"]) - logged).max()),
        rule_offset=decision["offsets"][row.place] if decision["offsets"] else None,
        pinned=position < len(pinned) and pinned[position] >= 0,
        slate=[
            SlateItem(
                entry["position"], entry["item_id"], titles.get(entry["item_id"], entry["item_id"]), entry["score"], float(logits[place]),
                _rank(logits, place), entry["propensity"],
            )
            for entry, place in zip(row.log, decision["action"], strict=True)
        ],
    )  # fmt: skip


def _rank(values: np.ndarray, place: int) -> int:
    """1 for the highest; equals share the best rank."""
    return 1 + int((values > values[place]).sum())


def _propensities(decision: Mapping[str, Any], action: Sequence[int]) -> np.ndarray:
    """(K,) of these candidates in order, each given those above."""
    logits = torch.tensor([decision["logits"]], dtype=torch.float64)
    return conditional_log_probs(logits, torch.tensor([action]), _limits(decision, len(action))).exp()[0].numpy()


def _limits(decision: Mapping[str, Any], size: int) -> SlateLimits:
    free = SlateLimits.none(1, len(decision["logits"]), size)
    category = torch.tensor([decision["categories"]]) if decision["categories"] else free.category
    cap = torch.where(category >= 0, decision["category_cap"], free.cap) if decision["categories"] else free.cap
    return SlateLimits(category, cap, torch.tensor([decision["pinned"][:size]]) if decision["pinned"] else free.pinned)


def _spoken(reason: str | None, titles: Mapping[str, str]) -> str:
    """``like item m1`` with the item's title."""
    head, liked, item = (reason or "").partition("like item ")
    return f"like {titles.get(item, item)}" if liked and not head else reason or ""
