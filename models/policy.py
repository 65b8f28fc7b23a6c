"""The slate policy: ranker utility by temperature plus a learned residual, refreshed off-policy within a trust region.

Letters: S slates, C candidates, K positions, V user features, P candidate features (column 0 is the utility).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.policy_gradient import (
    mean_reward_per_position,
    prefix_weights,
    reinforce_loss,
    slate_entropy,
    slate_kl,
)
from models.records import LoggedSlates
from models.slates import bound_logits, bound_range, conditional_log_probs
from models.standardize import Standardizer

__all__ = ["Policy", "PolicyConfig", "RefreshReport", "RefreshSettings", "refresh_policy", "slate_kl"]

_SLATES_AT_ONCE = 2048


@dataclass(frozen=True)
class PolicyConfig(ModelConfig):
    """user_dim, candidate_dim: V and P; temperature and logit_range as in `bound_logits`."""

    user_dim: int
    candidate_dim: int
    hidden: int = 64
    temperature: float = 0.35
    logit_range: float = 7.0


class Policy(nn.Module):
    """Plackett-Luce logits; the residual starts at exactly zero, so a new policy is the temperature rule alone."""

    fitted: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.user_numbers = Standardizer(config.user_dim, log=False)
        self.candidate_numbers = Standardizer(config.candidate_dim, log=False)
        self.register_buffer("fitted", torch.tensor(False))
        self.from_user = nn.Linear(config.user_dim, config.hidden)
        self.from_candidate = nn.Linear(config.candidate_dim, config.hidden, bias=False)
        self.hidden = nn.Linear(config.hidden, config.hidden)
        self.out = nn.Linear(config.hidden, 1, bias=False)  # a bias would move all candidates alike
        nn.init.zeros_(self.out.weight)

    @torch.no_grad()
    def fit_statistics(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> None:
        """Fix the residual's input scales; once, before it has learned anything."""
        self.user_numbers.fit(user_vector)
        self.candidate_numbers.fit(candidates[mask])
        self.fitted.fill_(True)

    def forward(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        """user_vector: (S, V); candidates: (S, C, P); mask: (S, C). Logits (S, C), masked = -inf."""
        rule = self.config
        base = bound_logits(candidates[..., 0], mask, rule.temperature, rule.logit_range)
        user = self.from_user(self.user_numbers(user_vector)).unsqueeze(1)  # (S, 1, hidden)
        known = torch.where(mask.unsqueeze(-1), candidates, torch.zeros_like(candidates))
        first = (user + self.from_candidate(self.candidate_numbers(known))).relu()  # (S, C, hidden)
        residual = self.out(self.hidden(first).relu()).squeeze(-1)  # (S, C)
        return bound_range(base + residual, mask, rule.logit_range)


@dataclass(frozen=True)
class RefreshSettings:
    """kl_limit: nats a slate on average; kl_p99_limit: 99th percentile; weight_cap: on prefix importance weights."""

    steps: int = 200
    lr: float = 1e-3
    batch_size: int = 256
    weight_cap: float = 10.0
    kl_limit: float = 0.15
    entropy: float = 1e-3
    seed: int = 7
    kl_p99_limit: float = 1.0


@dataclass(frozen=True)
class RefreshReport:
    """Distance from the policy at the start (nats a slate), entropy a slate, share of prefix weights above the cap."""

    kl_mean: float
    kl_p99: float
    entropy: float
    clipped_fraction: float
    steps: int


def refresh_policy(
    policy: Policy,
    slates: LoggedSlates,
    settings: RefreshSettings,
    on_metrics: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[Policy, RefreshReport]:
    """A new policy by off-policy corrected REINFORCE on prefixes, at most kl_limit nats a slate from the given one.

    ValueError where a shown position has no propensity. The given policy is left as it is. If the steps overshoot the
    trust region, the update is scaled back until both limits hold.
    """
    slates.check_propensities()
    start = copy.deepcopy(policy)
    if len(slates) == 0:
        return start, RefreshReport(0.0, 0.0, 0.0, 0.0, 0)
    if not bool(start.fitted):
        start.fit_statistics(slates.user_vector, slates.candidates, slates.mask)
    start_logits = _all_logits(start, slates)
    learned, steps = _ascend(start, start_logits, slates, settings, on_metrics)
    refreshed = _within_trust_region(start, learned, start_logits, slates, settings)
    return refreshed, _report(refreshed, start_logits, slates, settings, steps)


def _ascend(
    start: Policy,
    start_logits: Tensor,
    slates: LoggedSlates,
    settings: RefreshSettings,
    on_metrics: Callable[[int, dict[str, float]], None] | None,
) -> tuple[Policy, int]:
    """Adam steps until `steps` or the first mini-batch beyond the KL limit; the policy and the steps taken."""
    policy = copy.deepcopy(start).train()
    optimizer = torch.optim.Adam(policy.parameters(), lr=settings.lr)
    generator = torch.Generator().manual_seed(settings.seed)
    baseline = mean_reward_per_position(slates)
    for step in range(settings.steps):
        index = torch.randint(len(slates), (min(settings.batch_size, len(slates)),), generator=generator)
        batch = slates.rows(index)
        logits = policy(batch.user_vector, batch.candidates, batch.mask)
        kl = slate_kl(start_logits[index], logits.detach(), batch.action, batch.shown).mean()
        if kl > settings.kl_limit:
            return policy, step
        entropy = slate_entropy(logits, batch.action, batch.shown).mean()
        loss = reinforce_loss(logits, batch, baseline, settings.weight_cap) - settings.entropy * entropy
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"policy loss is {loss.item()} at step {step}; look for non-finite rewards or features"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient of the policy is {norm.item()} at step {step}, expected a finite number")
        optimizer.step()
        if on_metrics is not None:
            on_metrics(step, {"policy_loss": loss.item(), "slate_kl": kl.item(), "slate_entropy": entropy.item()})
    return policy, settings.steps


@torch.no_grad()
def _within_trust_region(
    start: Policy, learned: Policy, start_logits: Tensor, slates: LoggedSlates, settings: RefreshSettings
) -> Policy:
    """The learned policy, its update scaled by the largest of 1, and bisections below 1, that keeps both KL limits."""

    def scaled(share: float) -> Policy:
        policy = copy.deepcopy(start).eval()
        for parameter, other in zip(policy.parameters(), learned.parameters(), strict=True):
            parameter.lerp_(other, share)
        return policy

    def holds(policy: Policy) -> bool:
        kl = slate_kl(start_logits, _all_logits(policy, slates), slates.action, slates.shown)
        return bool(kl.mean() <= settings.kl_limit) and bool(kl.quantile(0.99) <= settings.kl_p99_limit)

    best, low, high = scaled(1.0), 0.0, 1.0
    if holds(best):
        return best
    best = scaled(0.0)
    for _ in range(8):
        middle = (low + high) / 2
        policy = scaled(middle)
        if holds(policy):
            best, low = policy, middle
        else:
            high = middle
    return best


@torch.no_grad()
def _all_logits(policy: Policy, slates: LoggedSlates) -> Tensor:
    """Logits (S, C) of all slates, in pieces."""
    was_training = policy.training
    policy.eval()
    pieces = [
        policy(piece.user_vector, piece.candidates, piece.mask)
        for piece in (slates.rows(slice(i, i + _SLATES_AT_ONCE)) for i in range(0, len(slates), _SLATES_AT_ONCE))
    ]
    policy.train(was_training)
    return torch.cat(pieces)


def _report(
    policy: Policy, start_logits: Tensor, slates: LoggedSlates, settings: RefreshSettings, steps: int
) -> RefreshReport:
    logits = _all_logits(policy, slates)
    kl = slate_kl(start_logits, logits, slates.action, slates.shown)
    weights = prefix_weights(conditional_log_probs(logits, slates.action), slates.propensity, slates.shown)
    clipped = (weights[slates.shown] > settings.weight_cap).float().mean() if slates.shown.any() else torch.tensor(0.0)
    entropy = slate_entropy(logits, slates.action, slates.shown).mean()
    return RefreshReport(kl.mean().item(), kl.quantile(0.99).item(), entropy.item(), clipped.item(), steps)
