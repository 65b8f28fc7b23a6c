"""Drawing slates: candidates, utilities, policy logits, and a Plackett–Luce draw with its exact propensities.

Letters: U users, C candidates, K slate size, P candidate features, V user features.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.artifacts import load_policy, load_ranker
from models.hashing import gumbel, id_hash
from models.policies.base import SlatePolicy
from models.ranker import Ranker
from models.records import KnownUser, SlateLimits, UserState
from models.retrieval import select_candidates
from models.rewards import expected_reward, reward_log_odds
from models.slates import bound_logits, bound_range, draw
from spark_jobs.business_rules import BusinessRules
from spark_jobs.catalogue import Catalogue, KnownItems, fresh_items
from spark_jobs.item_rules import ItemRules, with_pinned
from spark_jobs.ranker_inputs import cross_features

USER_TEXT_WIDTH = 16
USER_COUNTERS = ("impressions_24h", "clicks_24h", "reward_24h", "reward_168h")
CANDIDATE_FEATURES = (
    "utility", "first_task_logit", "impressions_24h", "reward_24h", "reward_rate_168h", "age_h", "tag_affinity", "text_similarity",
)  # fmt: skip
RULES = "seen-and-unavailable-v1"


@dataclass(frozen=True)
class Release:
    """The models that are in force, loaded, and what a reaction of each task pays."""

    release_id: str
    ranker: Ranker
    policy: SlatePolicy
    task_rewards: tuple[float, ...]

    @property
    def best_reward(self) -> float:
        """What an impression pays when every rewarded reaction is certain."""
        return sum(max(reward, 0.0) for reward in self.task_rewards)


@dataclass(frozen=True)
class DrawRules:
    """Sizes and rules of a draw; ``hour_number`` and ``seed`` make it repeatable."""

    at: datetime
    hour_number: int
    seed: int
    size: int
    candidates: int
    explore_share: float
    seen_days: int
    fresh_hours: int
    business: BusinessRules


@dataclass(frozen=True)
class Candidates:
    """What the policy sees: item rows (U, C), mask (U, C), features (U, C, P), user vectors (U, V)."""

    rows: torch.Tensor
    mask: torch.Tensor
    features: torch.Tensor
    user_vectors: torch.Tensor


@dataclass(frozen=True)
class Draw:
    """A draw: policy logits (U, C), chosen indexes (U, K), their propensities given the items above, utilities (U, K) in log-odds."""

    logits: torch.Tensor
    action: torch.Tensor
    propensity: torch.Tensor
    utility: torch.Tensor


def load_release(folder: str | Path, release_id: str, task_rewards: Sequence[float]) -> Release:
    """From ``<folder>/ranker`` and ``<folder>/policy``; scoring needs no registry."""
    path = Path(folder)
    return Release(release_id, load_ranker(path / "ranker"), load_policy(path / "policy"), tuple(task_rewards))


def retrieve(
    release: Release, user_ids: Sequence[str], state: KnownUser, catalogue: Catalogue, items: KnownItems, rules: DrawRules,
    of_items: ItemRules,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Candidate rows (U, C) and mask: nearest by the towers, all fresh items, a few at random, the pinned; never what a rule forbids."""
    allowed, fresh = allowed_items(state, catalogue, rules, of_items), fresh_items(catalogue, items, rules.fresh_hours)
    return candidate_rows(release, user_ids, state, catalogue, items, rules, of_items, allowed, fresh)


def candidate_rows(
    release: Release, user_ids: Sequence[str], state: KnownUser, catalogue: Catalogue, items: KnownItems, rules: DrawRules,
    of_items: ItemRules, allowed: torch.Tensor, fresh: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Candidate rows (U, C) and mask among what each user is allowed (U, N+1)."""
    ranker = release.ranker
    scores = ranker.user_vectors(state, catalogue.table) @ ranker.item_vectors(catalogue.table, items).T  # (U, N+1)
    found = select_candidates(
        scores, allowed, fresh, id_hash(user_ids), catalogue.hashes, rules.hour_number, rules.seed, rules.candidates, rules.explore_share
    )
    pins = [row for _, row in of_items.pins]
    return with_pinned(*found, pins, _servable(catalogue, rules, of_items).unsqueeze(0).expand(len(state), -1)) if pins else found


def allowed_items(state: KnownUser, catalogue: Catalogue, rules: DrawRules, of_items: ItemRules) -> torch.Tensor:
    """(U, N+1) bool: published, available, not blocked, and not among what the user met in the last ``seen_days``."""
    allowed = _servable(catalogue, rules, of_items).unsqueeze(0).repeat(len(state), 1)
    days = rules.seen_days if rules.business.seen_days is None else rules.business.seen_days
    seen = state.met.items * (state.met.age_h <= 24.0 * days)
    allowed.scatter_(1, seen, False)
    return allowed


def _servable(catalogue: Catalogue, rules: DrawRules, of_items: ItemRules) -> torch.Tensor:
    """(N+1,) bool: what may be shown to anybody."""
    at_us = int(rules.at.timestamp() * 1e6)
    return torch.from_numpy(catalogue.available & (catalogue.published_us <= at_us)) & ~of_items.blocked


def describe(
    release: Release, state: KnownUser, catalogue: Catalogue, items: KnownItems, rows: torch.Tensor, mask: torch.Tensor
) -> Candidates:
    """The policy's inputs for given candidate rows: the same for a draw and for judging a release on logged candidates."""
    cross = cross_features(state, catalogue, items, rows)
    logits = release.ranker.score(state, rows, catalogue.table, items, cross)  # (U, C, T)
    names = release.ranker.config.item_counters
    counters = items.counters[rows]
    logs = [torch.log1p(counters[..., names.index(name)]) for name in ("impressions_24h", "reward_24h")]
    rate = counters[..., names.index("reward_rate_168h")]
    profile = text_profiles(state, catalogue)
    similarity = torch.einsum("ud,ucd->uc", profile, catalogue.table.vectors[rows])
    utility = reward_log_odds(expected_reward(logits, release.task_rewards), release.best_reward)
    columns = [utility, logits[..., 0], *logs, rate, torch.log1p(items.age_h[rows])]
    features = torch.stack([*columns, cross[..., 0], similarity], dim=-1)  # (U, C, P)
    return Candidates(rows, mask, features, user_vectors(release, state, profile))


def user_vectors(release: Release, state: UserState, profile: torch.Tensor) -> torch.Tensor:
    """(U, V): log counters and a fixed random projection of the history's text, so that no release changes its meaning."""
    names = release.ranker.config.user_counters
    counters = torch.log1p(state.counters[:, [names.index(name) for name in USER_COUNTERS]])
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(profile.shape[1], USER_TEXT_WIDTH, generator=generator) / profile.shape[1] ** 0.5
    return torch.cat([counters, profile @ projection], dim=1)


def text_profiles(state: UserState, catalogue: Catalogue) -> torch.Tensor:
    """(U, D) unit mean of the text vectors of what the user reacted to, by strength; zeros without history."""
    weight = state.history_weight * (state.history > 0)
    total = torch.nn.functional.embedding_bag(state.history, catalogue.table.vectors, per_sample_weights=weight, mode="sum")
    return torch.nn.functional.normalize(total, dim=1)


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
