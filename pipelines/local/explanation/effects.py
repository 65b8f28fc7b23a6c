"""What moved a score, by ablation: the ranker is asked again with one thing taken away. It says what the model does, not what causes what.

Inputs of the item are replaced by those of each other candidate of the slate in turn, and the answers averaged (a group of features is
permuted within the slate, as Breiman 2001 does by column). Inputs of the user have no others to stand in: a history is left out, counters
become those of somebody new. Groups act together, so effects do not add up to the score.

Letters: C candidates, J = C - 1 others, V variants of the user, T tasks, X cross counters.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from models.records import RankerBatch, UserState
from pipelines.local.explanation.known import Known
from pipelines.local.explanation.records import Effect, GroupEffect, Value
from spark_jobs.contracts import COUNTERS, HISTORY
from spark_jobs.counters import CLICK_RATE, with_rates
from spark_jobs.ranker_inputs import LIKED_TOGETHER

_OTHERS, _NOBODY = "each other candidate's", "somebody new's"
_TOLD_COUNTERS = ("impressions_24h", "reward_24h", CLICK_RATE, "reward_rate_168h")
_OF_PAIRS = {  # groups of cross counters
    "tags in common with the history": ("tag_affinity",),
    "met before": ("met_times", "met_freshness"),
    "liked together with the history": LIKED_TOGETHER,
}


@torch.no_grad()
def group_effects(known: Known) -> list[GroupEffect]:
    """The largest lead first."""
    found = [*_of_user(known), *_of_item(known)] if known.others.any() else list(_of_user(known))
    return sorted(found, key=lambda one: -abs(one.effect.lead))


@torch.no_grad()
def event_effects(known: Known) -> list[tuple[int, Effect]]:
    """For each place in the history that the ranker reads: what the item loses without that entry, the largest loss or gain first.

    The entry is taken out of all that is made of the history: attention, tags, who liked what together, what was met. The user's counters
    stay: they do not tell one event from another.
    """
    history = known.history
    places = range(max(0, len(history) - HISTORY), len(history))
    state = known.states([history, *([entry for other, entry in enumerate(history) if other != place] for place in places)])
    effects = _against_first(known, known.score(state, known.cross(state)))
    return sorted(zip(places, effects, strict=True), key=lambda found: -abs(found[1].log_odds))


def _of_user(known: Known) -> Iterator[GroupEffect]:
    state = known.state
    nothing = np.zeros((1, len(COUNTERS)))
    new = torch.from_numpy(with_rates(nothing, known.release.ranker.config.user_counters).astype(np.float32))
    unread = {name: torch.zeros_like(getattr(state, name)) for name in ("history", "history_age_h", "history_weight")}
    parts = [UserState(state.counters, state.history, state.history_age_h, state.history_weight)]
    parts += [replace(parts[0], **unread), replace(parts[0], counters=new)]
    users = UserState(*(torch.cat([getattr(part, name) for part in parts]) for name in UserState.__dataclass_fields__))
    cross = known.cross(state).expand(len(users), -1, -1)
    logits = known.release.ranker.score(users, known.rows.expand(len(users), -1), known.catalogue.table, known.items, cross)
    without_history, without_counters = _against_first(known, logits)
    yield GroupEffect("what the history is about", "no history", without_history)
    yield GroupEffect("user counters", _NOBODY, without_counters)


def _of_item(known: Known) -> Iterator[GroupEffect]:
    own, others = _batch(known), known.rows[known.others]
    config, cross, counters = known.release.ranker.config, known.cross(known.state)[0], known.items.counters[known.rows]
    told = {
        "item counters": [_value(known, name, counters[:, config.item_counters.index(name)]) for name in _TOLD_COUNTERS],
        "item age": [_value(known, "age_h", known.items.age_h[known.rows])],
    }
    swaps = {
        "item counters": replace(own, item_counters=known.items.counters[others]),
        "item age": replace(own, item_age_h=known.items.age_h[others]),
        "text and image of the item": replace(own, item=others),
    }
    for group, columns in _OF_PAIRS.items():
        read = [config.cross.index(name) for name in columns]
        swapped = own.cross.clone()
        swapped[:, read] = cross[known.others][:, read]
        swaps[group] = replace(own, cross=swapped)
        told[group] = [_value(known, name, cross[:, column]) for name, column in zip(columns, read, strict=True)]
    with_own = _answers(known, own)
    for group, batch in swaps.items():
        reward, first_task = (with_own - _answers(known, batch)).mean(0).tolist()
        yield GroupEffect(group, _OTHERS, Effect(reward, first_task, reward), told.get(group, ()))


def _value(known: Known, name: str, values: Tensor) -> Value:
    """values: (C,)."""
    return Value(name, values[known.place].item(), values[known.others].mean().item())


def _batch(known: Known) -> RankerBatch:
    """The item J times, at the reference position."""
    others, state = known.rows[known.others], known.state
    count, row = len(others), known.rows[known.place]
    user = UserState(state.counters, state.history, state.history_age_h, state.history_weight).rows(torch.zeros(count, dtype=torch.int64))
    return RankerBatch(
        user=user, item=row.expand(count), item_counters=known.items.counters[row].expand(count, -1),
        item_age_h=known.items.age_h[row].expand(count), cross=known.cross(state)[0, known.place].expand(count, -1),
        position=torch.zeros_like(others), labels=torch.zeros(count, len(known.release.ranker.config.tasks)), weight=torch.ones(count),
        query=torch.zeros_like(others),
    )  # fmt: skip


def _answers(known: Known, batch: RankerBatch) -> Tensor:
    """(J, 2) log-odds."""
    return known.log_odds(known.release.ranker(batch, known.catalogue.table))


def _against_first(known: Known, logits: Tensor) -> list[Effect]:
    """Of the first variant less each later one. logits: (V, C, T)."""
    odds = known.log_odds(logits)  # (V, C, 2)
    lost = odds[:1] - odds[1:]
    of_others = lost[:, known.others, 0].mean(1) if known.others.any() else torch.zeros(len(lost))
    own = lost[:, known.place]
    return [Effect(*values) for values in torch.cat([own, (own[:, 0] - of_others).unsqueeze(1)], dim=1).tolist()]
