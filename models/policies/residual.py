"""The temperature rule plus a learned residual, moved by policy gradients.

Letters: S slates, C candidates, K positions.
"""

import torch
from torch import Tensor, nn

from models.policies.base import OnMetrics, PolicyConfig, RefreshSettings, SlatePolicy, batch_rows, check_finite, without_masked
from models.policy_gradient import (
    independent_loss,
    mean_reward_per_position,
    reinforce_loss,
    slate_entropy,
    slate_kl,
)
from models.records import LoggedSlates
from models.slates import bound_logits, bound_range

DRAWN_ALIKE = 1e-3  # a propensity may be off by this and still be that of an independent draw


class Reinforce(SlatePolicy):
    """Off-policy corrected REINFORCE on prefixes (see `reinforce_loss`). The residual starts at exactly zero."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config)
        self.from_user = nn.Linear(config.user_dim, config.hidden)
        self.from_candidate = nn.Linear(config.candidate_dim, config.hidden, bias=False)
        self.hidden = nn.Linear(config.hidden, config.hidden)
        self.out = nn.Linear(config.hidden, 1, bias=False)  # a bias would move all candidates alike
        nn.init.zeros_(self.out.weight)

    def forward(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        rule = self.config
        base = bound_logits(candidates[..., 0], mask, self.temperature, rule.logit_range)
        user = self.from_user(self.user_numbers(user_vector)).unsqueeze(1)  # (S, 1, hidden)
        numbers = self.candidate_numbers(without_masked(candidates, mask))
        first = (user + self.from_candidate(numbers)).relu()  # (S, C, hidden)
        residual = self.out(self.hidden(first).relu()).squeeze(-1)  # (S, C)
        return bound_range(base + residual, mask, rule.logit_range)

    def learn(self, slates: LoggedSlates, start_logits: Tensor, settings: RefreshSettings, on_metrics: OnMetrics | None = None) -> int:
        """Adam steps until `steps` or the first mini-batch beyond the KL limit."""
        self.train()
        optimizer = torch.optim.Adam(self.parameters(), lr=settings.lr)
        generator = torch.Generator().manual_seed(settings.seed)
        baseline = mean_reward_per_position(slates)
        for step in range(settings.steps):
            index = batch_rows(slates, settings.batch_size, generator)
            batch = slates.rows(index)
            logits = self(batch.user_vector, batch.candidates, batch.mask)
            kl = slate_kl(start_logits[index], logits.detach(), batch).mean()
            if kl > settings.kl_limit:
                return step
            entropy = slate_entropy(logits, batch).mean()
            loss = self.loss(logits, batch, baseline, settings.weight_cap) - settings.entropy * entropy
            check_finite("the policy's loss", loss.item(), step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            check_finite("the policy's gradient", float(nn.utils.clip_grad_norm_(self.parameters(), 1.0)), step)
            optimizer.step()
            if on_metrics is not None:
                on_metrics(step, {"policy_loss": loss.item(), "slate_kl": kl.item(), "slate_entropy": entropy.item()})
        return settings.steps

    def loss(self, logits: Tensor, batch: LoggedSlates, baseline: Tensor, weight_cap: float) -> Tensor:
        return reinforce_loss(logits, batch, baseline, weight_cap)


class TopKIndependent(Reinforce):
    """The top-K correction of Chen et al. (2019), for logs whose positions were drawn independently of each other.

    On Plackett-Luce draws it would correct twice: such logs are refused.
    """

    def learn(self, slates: LoggedSlates, start_logits: Tensor, settings: RefreshSettings, on_metrics: OnMetrics | None = None) -> int:
        """ValueError where a propensity is not that of a draw which did not mind the others."""
        alone = slates.behavior_logits.softmax(-1).gather(-1, slates.action)
        other = int((((alone - slates.propensity).abs() > DRAWN_ALIKE) & slates.shown).sum())
        if other:
            raise ValueError(
                f"topk_independent learns from independent draws alone: of {int(slates.shown.sum())} shown positions, {other} have the "
                "propensity of a draw without replacement; use reinforce for these"
            )
        return super().learn(slates, start_logits, settings, on_metrics)

    def loss(self, logits: Tensor, batch: LoggedSlates, baseline: Tensor, weight_cap: float) -> Tensor:
        return independent_loss(logits, batch, weight_cap)
