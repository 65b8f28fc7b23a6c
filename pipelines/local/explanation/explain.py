"""``recloop explain``: a scored row and its causes, each step by the versions that were recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
import torch

from pipelines.lake.tables import read_table
from pipelines.local.explanation.drawn import Row, explain_draw, read_row
from pipelines.local.explanation.effects import event_effects, group_effects
from pipelines.local.explanation.known import Known, read_known
from pipelines.local.explanation.lineage import learned, read_release, scoring_attempt
from pipelines.local.explanation.records import Effect, EventEffect, Explanation, Reaction, ScoreExplained
from pipelines.settings import Settings
from spark_jobs.contracts import HISTORY

TOLERANCE = 1e-4  # log-odds: a recomputed score that is further from the logged one is another score
EVENTS = 8  # of the history, those that mattered most


def explain(settings: Settings, user_id: str, item_id: str | None = None) -> Explanation:
    """Why the item stands in the user's slate; without one, the slate's first.

    Raises UserError for a user without scored rows, an item that is not in the slate, and where the draw, its release's models or the
    feature versions that it pinned are not kept any more.
    """
    row = read_row(settings, user_id, item_id)
    release, known = read_release(settings, row.decision["release_id"]), read_known(settings, row)
    item = row.scored["item_id"]
    return Explanation(
        user_id=user_id, item_id=item, title=known.titles.get(item, item), draw=explain_draw(row, known.titles),
        score=_score(settings, row, known), release=release, learned=learned(settings, release),
        scoring=scoring_attempt(settings, row.decision["hour"], row.feature_versions),
    )  # fmt: skip


def _score(settings: Settings, row: Row, known: Known) -> ScoreExplained:
    """Effects only where the score comes out as it was logged."""
    logits = known.score(known.state, known.cross(known.state))[0]  # (C, T)
    odds = known.log_odds(logits)[:, 0].double()
    error = float((odds - torch.from_numpy(row.utilities)).abs().max())
    agrees = error <= TOLERANCE
    tasks, own = known.release.ranker.config.tasks, logits[known.place].sigmoid().tolist()
    return ScoreExplained(
        expected_reward=row.scored["score"], log_odds=float(row.utilities[row.place]),
        probabilities=dict(zip(tasks, own, strict=True)) if agrees else {}, recomputed_error=error,
        note="" if agrees else _differs(error), groups=group_effects(known) if agrees else (),
        events=_events(settings, known, row.decision["hour"]) if agrees else (), history=min(len(known.history), HISTORY),
    )  # fmt: skip


def _differs(error: float) -> str:
    return (
        f"recomputed log-odds differ from the logged ones by up to {error:.2g}, expected at most {TOLERANCE:g}: reward weights, code or "
        "models are others than at the draw, so nothing is attributed"
    )


def _events(settings: Settings, known: Known, hour: str) -> list[EventEffect]:
    """The entries that mattered most, with the reactions that they stand for."""
    found = [(known.history[place], effect) for place, effect in event_effects(known)[:EVENTS]]
    reactions = _reactions(settings, known.user["user_id"][0].as_py(), [entry for entry, _ in found], hour)
    return [_event(known, entry, effect, reactions.get(entry["item_id"], ())) for entry, effect in found]


def _event(known: Known, entry: Mapping[str, Any], effect: Effect, reactions: Sequence[Reaction]) -> EventEffect:
    item, ts = entry["item_id"], entry["ts"]
    age_h = (known.at - ts).total_seconds() / 3600
    title = known.titles.get(item, item)
    return EventEffect(item, title, ts, age_h, entry["weight"], entry["times"], entry["event_id"], reactions, effect)


def _reactions(settings: Settings, user_id: str, entries: Sequence[Mapping[str, Any]], hour: str) -> dict[str, list[Reaction]]:
    """By item what ``feedback`` holds of the user up to the draw's hour, oldest first."""
    if not entries:
        return {}
    items = [entry["item_id"] for entry in entries]
    mine = (pc.field("user_id") == user_id) & pc.field("item_id").isin(items) & (pc.field("hour") <= hour)
    rows = read_table(settings, "feedback", columns=["item_id", "event_id", "type", "value", "ts"], where=mine).to_pylist()
    found: dict[str, list[Reaction]] = {}
    for row in sorted(rows, key=lambda row: (row["ts"], row["event_id"])):
        found.setdefault(row.pop("item_id"), []).append(Reaction(**row))
    return found
