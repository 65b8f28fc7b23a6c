"""The learners by name."""

from collections.abc import Mapping

import torch

from models.policies.base import PolicyConfig, SlatePolicy
from models.policies.linear import LinUCB, NeuralLinear
from models.policies.residual import Reinforce, TopKIndependent
from models.policies.rules import EpsilonGreedy, Softmax
from models.policies.slate_q import SlateQ

LEARNERS: Mapping[str, type[SlatePolicy]] = {
    "reinforce": Reinforce, "topk_independent": TopKIndependent, "slate_q": SlateQ, "neural_linear": NeuralLinear, "lin_ucb": LinUCB,
    "softmax": Softmax, "epsilon_greedy": EpsilonGreedy,
}  # fmt: skip


def make_policy(config: PolicyConfig, seed: int = 7) -> SlatePolicy:
    """A policy that has learned nothing, in eval mode; the same weights for the same seed. ValueError for a learner that is none."""
    if config.learner not in LEARNERS:
        raise ValueError(f"unknown learner {config.learner!r}; expected one of {', '.join(LEARNERS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LEARNERS[config.learner](config).eval()
