"""Policies that learn nothing: how the ranker's order is explored."""

import math

import torch
from torch import Tensor

from models.policies.base import SlatePolicy


class Softmax(SlatePolicy):
    """The temperature rule on the ranker's utility."""


class EpsilonGreedy(SlatePolicy):
    """At each position the best candidate that is left is drawn with probability 1 - epsilon, and so on down the rest.

    Greedy with a uniform remainder is no Plackett-Luce draw. Logits that fall by -log(epsilon) a rank are one, with the same chance of the
    best at every position, as far as the logit range reaches; below that, what is left is drawn uniformly.
    """

    def forward(self, user_vector: Tensor, candidates: Tensor, mask: Tensor) -> Tensor:
        utility = candidates[..., 0].masked_fill(~mask, -torch.inf)
        rank = utility.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)  # (S, C) 0 = best
        logits = (rank * math.log(self.config.epsilon)).clamp(min=-self.config.logit_range).to(candidates.dtype)
        return logits.masked_fill(~mask, -torch.inf)
