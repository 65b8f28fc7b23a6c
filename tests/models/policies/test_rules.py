"""Policies that learn nothing."""

import pytest
import torch

from models.policies.base import PolicyConfig
from models.policies.learners import make_policy
from models.records import SlateLimits
from models.slates import bound_logits, conditional_log_probs


def test_softmax_is_the_temperature_rule():
    policy, mask = make_policy(PolicyConfig(2, 2, learner="softmax", temperature=0.5)), torch.rand(6, 5) < 0.8
    candidates = torch.randn(6, 5, 2)
    torch.testing.assert_close(policy(torch.randn(6, 2), candidates, mask), bound_logits(candidates[..., 0], mask, 0.5))


def test_epsilon_greedy_takes_the_best_that_is_left_at_each_position():
    policy = make_policy(PolicyConfig(2, 1, learner="epsilon_greedy", epsilon=0.1))
    utility = torch.tensor([[0.3, 2.0, -1.0, 5.0, 0.0, -7.0]])
    mask = torch.tensor([[True, True, True, True, True, False]])
    logits = policy(torch.zeros(1, 2), utility.unsqueeze(-1), mask)
    best_first = utility.masked_fill(~mask, -torch.inf).argsort(descending=True)[:, :2]
    chance = conditional_log_probs(logits, best_first, SlateLimits.none(1, 6, 2)).exp()[0]
    assert chance.tolist() == pytest.approx([0.9, 0.9], abs=0.015)
    assert logits[0, 5] == -torch.inf and logits[0, 2] == -7.0, "below the range what is left is drawn uniformly"
