"""Drawing slates: the policy's logits of the candidates, and a Plackett–Luce draw with its exact propensities.

Letters: U users, C candidates, K slate size.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.hashing import gumbel, id_hash
from models.records import SlateLimits, UserState
from models.slates import bound_logits, bound_range, draw
from spark_jobs.candidates import Candidates
from spark_jobs.catalogue import Catalogue, KnownItems
from spark_jobs.release import DrawRules, Release

RULES = "seen-and-unavailable-v1"


@dataclass(frozen=True)
class Draw:
    """A draw: policy logits (U, C), chosen indexes (U, K), their propensities given the items above, utilities (U, K) in log-odds."""

    logits: torch.Tensor
    action: torch.Tensor
    propensity: torch.Tensor
    utility: torch.Tensor


@torch.no_grad()
def slate_logits(release: Release, state: UserState, candidates: Candidates, items: KnownItems, offset: torch.Tensor) -> torch.Tensor:
    """(U, C) float64: the policy's, or, for users without history, the week's popularity; plus the rules' offset, within the range."""
    policy, logit_range = release.policy, release.policy.config.logit_range
    learned = policy(candidates.user_vectors, candidates.features, candidates.mask)
    week = release.ranker.config.item_counters.index("reward_168h")
    popularity = torch.log1p(items.counters[:, week])[candidates.rows]
    popular = bound_logits(popularity, candidates.mask, policy.temperature, logit_range)
    chosen = torch.where(has_history(state).unsqueeze(1), learned, popular).double()
    return bound_range(chosen + offset, candidates.mask, logit_range) if offset.any() else chosen


def has_history(state: UserState) -> torch.Tensor:
    """(U,) bool: whether anything is known that the policy could go by."""
    return (state.history > 0).any(dim=1)


def draw_slates(
    logits: torch.Tensor, user_ids: Sequence[str], candidates: Candidates, catalogue: Catalogue, rules: DrawRules, limits: SlateLimits
) -> Draw:
    """Plackett–Luce draw within the limits, with noise hashed from (seed, user, item, hour): a rerun draws the same."""
    hashes = catalogue.hashes[candidates.rows.numpy()]
    noise = torch.from_numpy(gumbel(rules.seed, id_hash(user_ids), hashes, rules.hour_number))
    action, propensity = draw(logits, noise, limits)
    return Draw(logits, action, propensity, candidates.features[..., 0].gather(1, action))


def most_similar_seen(state: UserState, catalogue: Catalogue, rows: torch.Tensor) -> torch.Tensor:
    """(U, K) item row of the user's history whose text is nearest to each drawn item; 0 without history."""
    history = catalogue.table.vectors[state.history]  # (U, H, D)
    similarity = torch.einsum("ukd,uhd->ukh", catalogue.table.vectors[rows], history)
    liked = (state.history > 0) & (state.history_weight > 0)
    best = similarity.masked_fill(~liked.unsqueeze(1), -2.0).argmax(-1)  # (U, K)
    return state.history.gather(1, best) * liked.any(1, keepdim=True)


def slate_ids(user_ids: Sequence[str], release_id: str, rules: DrawRules, item_ids: Sequence[Sequence[str]]) -> list[str]:
    """32 hex digits that name each draw: hash of user, hour, release, seed and the items in order."""
    heads = (f"{user}|{rules.hour_number}|{release_id}|{rules.seed}|" for user in user_ids)
    texts = (head + ",".join(items) for head, items in zip(heads, item_ids, strict=True))
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]


def as_lists(array: NDArray[np.floating], counts: NDArray[np.int64]) -> pa.Array:
    """Rows of different length as a list array: the first ``counts[i]`` values of row i."""
    keep = np.arange(array.shape[1])[None, :] < counts[:, None]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(array[keep]))
