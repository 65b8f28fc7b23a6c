"""What each way of recommending would show the same users in the same hour, all from the loop's own state.

Every arm chooses among the items that the loop itself was allowed to show (published, available, unseen), so that the arms
differ in how they choose and in nothing else. Slates are item ids (U, K), "" where a slate is shorter.
Letters: U users, N items, K positions.
"""

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from pipelines.hours import shift
from pipelines.local.loop_state import LoopState, View
from pipelines.local.reward_figures import BEST, FROZEN_ALL, FROZEN_WEIGHTS, LOOP, POPULARITY, RANDOM
from pipelines.local.world import World
from pipelines.settings import Reward
from spark_jobs.candidates import candidate_rows, describe
from spark_jobs.drawing import draw_slates, slate_logits
from spark_jobs.release import Release

_RANDOM = 51  # stream of the hash

Slates = NDArray[np.object_]


def all_arms(state: LoopState, frozen: View, first: Release, world: World, reward: Reward) -> dict[str, Slates]:
    """Slates of every arm; ``first`` is the first release, ``frozen`` what a system frozen with it goes by."""
    return {
        LOOP: state.published,
        FROZEN_WEIGHTS: drawn_slates(state, state.view, first),
        FROZEN_ALL: drawn_slates(state, frozen, first),
        POPULARITY: popular_slates(state, first),
        RANDOM: random_slates(state),
        BEST: best_slates(state, world, reward),
    }


@torch.no_grad()
def drawn_slates(state: LoopState, view: View, release: Release) -> Slates:
    """The release's own draw, by ``view``, with the noise and the rules of the loop's draw of that hour."""
    catalogue, rules, of_items = state.catalogue, state.rules, state.of_items
    rows, mask = candidate_rows(release, state.users, view.users, catalogue, view.items, rules, of_items, state.allowed, state.fresh)
    candidates, limits = describe(release, view.users, catalogue, view.items, rows, mask), of_items.limits(rows, rules.size)
    logits = slate_logits(release, view.users, candidates, view.items, of_items.offset[rows])
    draw = draw_slates(logits, state.users, candidates, catalogue, rules, limits)
    return _ids(state, (rows.gather(1, draw.action) * (draw.propensity > 0)).numpy())


def popular_slates(state: LoopState, release: Release) -> Slates:
    """The allowed items with the highest reward of the week, by the loop's fresh counters."""
    week = release.ranker.config.item_counters.index("reward_168h")
    return _highest(state, np.broadcast_to(state.view.items.counters[:, week].numpy(), state.allowed.shape))


def random_slates(state: LoopState) -> Slates:
    """Allowed items in hashed order: each equally likely at each position."""
    rules = state.rules
    users = id_hash(state.users)[:, None]
    return _highest(state, uniform(rules.seed, _RANDOM, users, state.catalogue.hashes[None, :], rules.hour_number))


def best_slates(state: LoopState, world: World, reward: Reward) -> Slates:
    """The allowed items with the highest expected reward in the hour in which they are shown."""
    rows = state.catalogue.rows(pa.array(world.item_ids))
    allowed = state.allowed.numpy()[:, rows] & (rows > 0)
    best = world.best_slates(state.users, allowed, shift(state.hour, 1), state.rules.size, reward)
    return np.array(world.item_ids, dtype=object)[best]


def _highest(state: LoopState, values: NDArray[np.floating]) -> Slates:
    """The K allowed items of each user with the highest values (U, N+1), best first; ties by item row."""
    keys = np.where(state.allowed.numpy(), values, -np.inf)
    top = np.argsort(-keys, axis=1, kind="stable")[:, : state.rules.size]
    return _ids(state, np.where(np.isfinite(np.take_along_axis(keys, top, axis=1)), top, 0))


def _ids(state: LoopState, rows: NDArray[np.int64]) -> Slates:
    return np.array(["", *state.catalogue.ids.to_pylist()], dtype=object)[rows]
