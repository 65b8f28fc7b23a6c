"""Bayesian linear models of the reward: upper confidence bounds, and Thompson sampling on what a network has learned.

Letters: S slates, C candidates, K positions, V user features, P candidate features, F inputs of the linear model, M samples, n shown rows.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.policies.base import OnMetrics, PolicyConfig, RefreshSettings, SlatePolicy, batch_rows, check_finite, without_masked
from models.policy_gradient import mean_reward_per_position
from models.records import LoggedSlates
from models.slates import bound_logits

PRIOR = 0.1  # standard deviation of a weight beforehand, in standard deviations of the reward
SAMPLES = 32


class _Linear(SlatePolicy, ABC):
    """Reward = weight · inputs + noise; the first input is the ranker's expected reward, whose weight alone is not 0 beforehand."""

    weight: Tensor  # (F,)
    covariance: Tensor  # (F, F)
    center: Tensor  # (F,) mean input of what was shown

    def __init__(self, config: PolicyConfig, width: int) -> None:
        super().__init__(config)
        first = torch.zeros(width, dtype=torch.float64)
        first[0] = 1.0
        self.register_buffer("weight", first)
        self.register_buffer("covariance", torch.zeros(width, width, dtype=torch.float64))
        self.register_buffer("center", torch.zeros(width, dtype=torch.float64))

    @abstractmethod
    def inputs(self, user_vector: Tensor, candidates: Tensor) -> Tensor:
        """(S, C, F) without gradient."""

    @abstractmethod
    def score(self, inputs: Tensor, user_vector: Tensor) -> Tensor:
        """(S, C) of inputs (S, C, F)."""

    def forward(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        score = self.score(self.inputs(user_vector, without_masked(candidates, mask)).double(), user_vector)
        return bound_logits(score, mask, self.temperature, self.config.logit_range).to(candidates.dtype)

    @torch.no_grad()
    def _fit(self, slates: LoggedSlates) -> None:
        """The posterior of these slates alone: what was shown longer ago is forgotten."""
        rows, reward = self._shown(slates)  # (n, F), (n,)
        self.center.copy_(rows.mean(0))
        rows = rows - self.center
        expected = rows[:, 0]
        slope = (expected @ reward / expected.square().sum().clamp(min=1e-12)).clamp(min=1e-6)
        left = reward - slope * expected
        noise, prior = left.var().clamp(min=1e-12), (PRIOR * reward.std()).square().clamp(min=1e-12)
        precision = rows.T @ rows / noise + torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device) / prior
        factor = torch.linalg.cholesky(precision)
        self.covariance.copy_(torch.cholesky_inverse(factor))
        learned = torch.cholesky_solve((rows.T @ left / noise).unsqueeze(1), factor).squeeze(1)
        self.weight.copy_(learned)
        self.weight[0] += slope

    def _shown(self, slates: LoggedSlates) -> tuple[Tensor, Tensor]:
        """Inputs (n, F) of what was shown and its reward (n,) less the mean of its position."""
        inputs = self.inputs(slates.user_vector, without_masked(slates.candidates, slates.mask))  # (S, C, F)
        index = slates.action.unsqueeze(-1).expand(-1, -1, inputs.shape[-1])
        centered = slates.reward - mean_reward_per_position(slates)
        return inputs.gather(1, index)[slates.shown].double(), centered[slates.shown].double()

    def _spread(self, inputs: Tensor) -> Tensor:
        """(S, C) standard deviation of what is expected of inputs (S, C, F)."""
        centered = inputs - self.center
        return ((centered @ self.covariance) * centered).sum(-1).clamp(min=0).sqrt()


class LinUCB(_Linear):
    """Expected reward plus `bonus` standard deviations (Li et al. 2010), by one model of all items.

    Its inputs are the candidate's features and their products with the user's.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config, 1 + config.candidate_dim * (1 + config.user_dim))

    @torch.no_grad()
    def inputs(self, user_vector: Tensor, candidates: Tensor) -> Tensor:
        user = self.user_numbers(user_vector) / self.config.user_dim**0.5  # (S, V)
        numbers = self.candidate_numbers(candidates)  # (S, C, P)
        products = torch.einsum("sv,scp->scvp", user, numbers).flatten(2)
        return torch.cat([candidates[..., :1].sigmoid(), numbers, products], dim=-1)

    @torch.no_grad()
    def score(self, inputs: Tensor, user_vector: Tensor) -> Tensor:
        return inputs @ self.weight + self.config.bonus * self._spread(inputs)

    def learn(self, slates: LoggedSlates, start_logits: Tensor, settings: RefreshSettings, on_metrics: OnMetrics | None = None) -> int:
        if slates.shown.sum() > 1:
            self._fit(slates)
        return 1


class NeuralLinear(_Linear):
    """Thompson sampling on the last layer of a network of the reward (Riquelme et al. 2018).

    A refresh draws SAMPLES weights of the posterior; which of them a slate goes by is a hash of its user's features, so that
    users explore in different ways and a propensity stays what it was.
    """

    samples: Tensor  # (M, F)

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config, 1 + config.hidden)
        self.from_user = nn.Linear(config.user_dim, config.hidden)
        self.from_candidate = nn.Linear(config.candidate_dim, config.hidden, bias=False)
        self.hidden = nn.Linear(config.hidden, config.hidden)
        self.out = nn.Linear(1 + config.hidden, 1)
        self.register_buffer("samples", self.weight.repeat(SAMPLES, 1))

    def _layer(self, user_vector: Tensor, candidates: Tensor) -> Tensor:
        user = self.from_user(self.user_numbers(user_vector)).unsqueeze(1)  # (S, 1, hidden)
        first = (user + self.from_candidate(self.candidate_numbers(candidates))).relu()
        return torch.cat([candidates[..., :1].sigmoid(), self.hidden(first).relu()], dim=-1)  # (S, C, F)

    @torch.no_grad()
    def inputs(self, user_vector: Tensor, candidates: Tensor) -> Tensor:
        return self._layer(user_vector, candidates)

    @torch.no_grad()
    def score(self, inputs: Tensor, user_vector: Tensor) -> Tensor:
        which = _buckets(user_vector, len(self.samples))  # (S,)
        return torch.einsum("scf,sf->sc", inputs, self.samples[which])

    def learn(self, slates: LoggedSlates, start_logits: Tensor, settings: RefreshSettings, on_metrics: OnMetrics | None = None) -> int:
        if slates.shown.sum() < 2:
            return 0
        generator = torch.Generator().manual_seed(settings.seed)
        self._fit_network(slates, settings, generator, on_metrics)
        self._fit(slates)
        root = torch.linalg.cholesky(self.covariance + 1e-12 * torch.eye(len(self.weight)).to(self.covariance))
        noise = torch.randn(SAMPLES, len(self.weight), generator=generator, dtype=torch.float64)
        self.samples.copy_(self.weight + noise.to(root) @ root.T)
        return settings.steps

    def _fit_network(
        self, slates: LoggedSlates, settings: RefreshSettings, generator: torch.Generator, on_metrics: OnMetrics | None
    ) -> None:
        """Least squares on the reward of what was shown, less the mean of its position, in its standard deviations."""
        centered = torch.where(slates.shown, slates.reward - mean_reward_per_position(slates), 0.0).float()
        centered = centered / centered[slates.shown].std().clamp(min=1e-6)
        optimizer = torch.optim.Adam(self.parameters(), lr=settings.lr)
        for step in range(settings.steps):
            index = batch_rows(slates, settings.batch_size, generator)
            batch = slates.rows(index)
            layer = self._layer(batch.user_vector, without_masked(batch.candidates, batch.mask))
            said = self.out(layer).squeeze(-1).gather(1, batch.action)  # (B, K)
            loss = functional.mse_loss(said[batch.shown], centered[index][batch.shown])
            check_finite("the loss of the reward's network", loss.item(), step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if on_metrics is not None:
                on_metrics(step, {"policy_loss": loss.item()})


def _buckets(user_vector: Tensor, count: int) -> Tensor:
    """(S,) in 0..count - 1: a hash of the features, rounded so that the last digits of a sum do not decide."""
    rounded = (user_vector.double() * 16).round().long()  # (S, V)
    mixed = rounded.new_zeros(len(rounded))
    for column in rounded.T:
        mixed = (mixed * 1_000_003) ^ column
        mixed = mixed ^ (mixed >> 29)
    return mixed.remainder(count)
