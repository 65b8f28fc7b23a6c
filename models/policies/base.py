"""What every slate policy is: Plackett-Luce logits of a slate's candidates, learned from what was shown.

Letters: S slates, C candidates, K positions, V user features, P candidate features (column 0 is the utility).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.records import LoggedSlates
from models.slates import bound_logits
from models.standardize import Standardizer

OnMetrics = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True)
class PolicyConfig(ModelConfig):
    """user_dim, candidate_dim: V and P; learner: a name of `learners.LEARNERS`; temperature (at first) and logit_range: `bound_logits`.

    epsilon: chance of `epsilon_greedy` not to take the best that is left. bonus: standard deviations that `lin_ucb` adds.
    discount: of `slate_q`, what a reward is worth one slate later; shaping: weight of its potential, user feature `potential`.
    """

    user_dim: int
    candidate_dim: int
    hidden: int = 64
    temperature: float = 0.35
    logit_range: float = 7.0
    learner: str = "reinforce"
    epsilon: float = 0.1
    bonus: float = 1.0
    discount: float = 0.8
    shaping: float = 0.0
    potential: int = 0


@dataclass(frozen=True)
class RefreshSettings:
    """How one refresh learns, and how far it may go.

    kl_limit, kl_p99_limit: nats a slate from the policy at the start, mean and 99th percentile; anchor_kl_limit: mean from an older policy.
    least_entropy: share of the start's entropy that must be left. weight_cap: on importance weights. conservative: of `slate_q`, the weight
    of the penalty on what was not shown.
    """

    steps: int = 200
    lr: float = 1e-3
    batch_size: int = 256
    weight_cap: float = 10.0
    kl_limit: float = 0.15
    entropy: float = 1e-3
    seed: int = 7
    kl_p99_limit: float = 1.0
    anchor_kl_limit: float = 1.0
    least_entropy: float = 0.7
    conservative: float = 0.1


class SlatePolicy(nn.Module):
    """A policy that has learned nothing is the temperature rule on the utility; `learn` is a subclass's own.

    All that is learned lies in parameters and floating buffers, and every point on the straight line between two states is a policy: by
    that a refresh is scaled back.
    """

    needs_sessions = False  # whether it learns from what followed a slate
    fitted: Tensor
    log_temperature: Tensor  # a buffer, so that a refresh moves it within the limits of everything else

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.user_numbers = Standardizer(config.user_dim, log=False)
        self.candidate_numbers = Standardizer(config.candidate_dim, log=False)
        self.register_buffer("fitted", torch.tensor(False))
        self.register_buffer("log_temperature", torch.tensor(config.temperature, dtype=torch.float64).log())

    @property
    def temperature(self) -> float:
        return self.log_temperature.exp().item()

    def set_temperature(self, temperature: float) -> None:
        self.log_temperature.fill_(math.log(temperature))

    @torch.no_grad()
    def fit_statistics(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> None:
        """Fix the scales of the inputs; once, before anything is learned."""
        self.user_numbers.fit(user_vector)
        self.candidate_numbers.fit(candidates[mask])
        self.fitted.fill_(True)

    def forward(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        """user_vector: (S, V); candidates: (S, C, P); mask: (S, C). Logits (S, C), masked = -inf."""
        return bound_logits(candidates[..., 0], mask, self.temperature, self.config.logit_range)

    def learn(self, slates: LoggedSlates, start_logits: Tensor, settings: RefreshSettings, on_metrics: OnMetrics | None = None) -> int:
        """Learn in place from the slates, whose logits were (S, C) before; how many steps it took."""
        return 0


def without_masked(candidates: Tensor, mask: Tensor) -> Tensor:
    """(S, C, P) with zeros where there is no candidate: what lies there may be anything."""
    return torch.where(mask.unsqueeze(-1), candidates, torch.zeros_like(candidates))


def batch_rows(slates: LoggedSlates, size: int, generator: torch.Generator) -> Tensor:
    """Row numbers (B,) of a random mini-batch; the generator is the CPU's, so that every device learns from the same ones."""
    return torch.randint(len(slates), (min(size, len(slates)),), generator=generator).to(slates.user_vector.device)


def check_finite(what: str, value: float, step: int) -> None:
    """FloatingPointError where a loss or a gradient is not a number."""
    if not -float("inf") < value < float("inf"):
        raise FloatingPointError(f"{what} is {value} at step {step}, expected a finite number; look for non-finite rewards or features")
