"""What a slate is drawn from: items that the towers find and the ranker prefers, fresh ones, and what the policy sees of them.

Letters: U users, N items, C candidates, P candidate features, V user features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from models.hashing import id_hash
from models.records import KnownUser, UserState
from models.retrieval import select_candidates
from models.rewards import expected_reward, reward_log_odds
from spark_jobs.catalogue import Catalogue, KnownItems, fresh_items
from spark_jobs.item_rules import ItemRules, with_pinned
from spark_jobs.ranker_inputs import cross_features
from spark_jobs.release import DrawRules, Release

USER_TEXT_WIDTH = 16
USER_COUNTERS = ("impressions_24h", "clicks_24h", "reward_24h", "reward_168h")
CANDIDATE_FEATURES = (
    "utility", "first_task_logit", "impressions_24h", "reward_24h", "reward_rate_168h", "age_h", "tag_affinity", "text_similarity",
)  # fmt: skip
_USERS_AT_ONCE = 512  # scored on all that was retrieved for them


@dataclass(frozen=True)
class Candidates:
    """What the policy sees: item rows (U, C), mask (U, C), features (U, C, P), user vectors (U, V)."""

    rows: torch.Tensor
    mask: torch.Tensor
    features: torch.Tensor
    user_vectors: torch.Tensor


def retrieve(
    release: Release, user_ids: Sequence[str], state: KnownUser, catalogue: Catalogue, items: KnownItems, rules: DrawRules,
    of_items: ItemRules,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Candidate rows (U, C) and mask: the ranker's best of what the towers retrieve, fresh items, a few at random, the pinned.

    Never what a rule forbids.
    """
    allowed, fresh = allowed_items(state, catalogue, rules, of_items), fresh_items(catalogue, items, rules.fresh_hours)
    return candidate_rows(release, user_ids, state, catalogue, items, rules, of_items, allowed, fresh)


def candidate_rows(
    release: Release, user_ids: Sequence[str], state: KnownUser, catalogue: Catalogue, items: KnownItems, rules: DrawRules,
    of_items: ItemRules, allowed: torch.Tensor, fresh: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Candidate rows (U, C) and mask among what each user is allowed (U, N+1)."""
    scores = _by_ranker(release, state, catalogue, items, rules.retrieved, allowed)
    found = select_candidates(
        scores, allowed, fresh, id_hash(user_ids), catalogue.hashes, rules.hour_number, rules.seed, rules.candidates, rules.explore_share
    )
    pins = [row for _, row in of_items.pins]
    return with_pinned(*found, pins, _servable(catalogue, rules, of_items).unsqueeze(0).expand(len(state), -1)) if pins else found


def _by_ranker(
    release: Release, state: KnownUser, catalogue: Catalogue, items: KnownItems, count: int, allowed: torch.Tensor
) -> torch.Tensor:
    """(U, N+1): utility by the ranker of each user's ``count`` best by the towers; every other item stands below them."""
    ranker = release.ranker
    towers = ranker.user_vectors(state, catalogue.table) @ ranker.item_vectors(catalogue.table, items).T  # (U, N+1)
    best = towers.masked_fill(~allowed, -torch.inf).topk(min(count, towers.shape[1]), dim=1).indices
    utility = torch.cat([
        _utility(release, ranker.score(some, rows, catalogue.table, items, cross_features(some, catalogue, items, rows)))
        for some, rows in ((state.rows(part), best[part]) for part in _parts(len(best)))
    ])  # fmt: skip
    return torch.full_like(towers, utility.min().item() - 1.0).scatter_(1, best, utility)


def _parts(users: int) -> list[slice]:
    return [slice(first, first + _USERS_AT_ONCE) for first in range(0, users, _USERS_AT_ONCE)]


def _utility(release: Release, logits: torch.Tensor) -> torch.Tensor:
    """(U, C) log-odds of the expected reward, of the ranker's logits (U, C, T)."""
    return reward_log_odds(expected_reward(logits, release.task_rewards), release.best_reward)


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
    columns = [_utility(release, logits), logits[..., 0], *logs, rate, torch.log1p(items.age_h[rows])]
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
