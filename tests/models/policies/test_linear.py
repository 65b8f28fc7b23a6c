"""Linear models of the reward: the posterior by hand, a bonus for what was seldom shown, samples that spread as the posterior does."""

import dataclasses

import numpy as np
import torch

from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import make_policy
from models.policies.linear import PRIOR, SAMPLES
from models.records import LoggedSlates, SlateLimits

SETTINGS = RefreshSettings(steps=30)


def log(slates: int, seed: int = 0) -> LoggedSlates:
    """Slates of 2 out of 4, drawn uniformly; the reward is twice the second feature of a candidate, plus noise."""
    generator = torch.Generator().manual_seed(seed)
    candidates = torch.randn(slates, 4, 2, generator=generator)
    action = torch.rand(slates, 4, generator=generator).topk(2, dim=1).indices
    paid = 2 * candidates[..., 1].gather(1, action) + 0.5 * torch.randn(slates, 2, generator=generator)
    propensity = torch.tensor([1 / 4, 1 / 3]).expand(slates, 2)
    return LoggedSlates(
        torch.randn(slates, 1, generator=generator), candidates, torch.ones(slates, 4, dtype=torch.bool), torch.zeros(slates, 4), action,
        torch.ones(slates, 2, dtype=torch.bool), propensity, paid, torch.arange(slates), torch.full((slates,), -1),
        torch.zeros(slates, dtype=torch.int64), SlateLimits.none(slates, 4, 2),
    )  # fmt: skip


def learned(learner: str, slates: LoggedSlates):
    policy = make_policy(PolicyConfig(1, 2, hidden=6, temperature=1.0, learner=learner))
    policy.fit_statistics(slates.user_vector, slates.candidates, slates.mask)
    policy.learn(slates, torch.zeros(len(slates), 4), SETTINGS)
    return policy


def test_the_posterior_is_that_of_ridge_regression():
    slates = log(60)
    policy = learned("lin_ucb", slates)
    features = policy.inputs(slates.user_vector, slates.candidates).double().numpy()
    x = np.take_along_axis(features, slates.action.numpy()[..., None], 1).reshape(-1, features.shape[-1])
    y = (slates.reward - slates.reward.mean(0)).double().numpy().ravel()
    x = x - x.mean(0)
    slope = max(x[:, 0] @ y / (x[:, 0] @ x[:, 0]), 1e-6)
    left = y - slope * x[:, 0]
    noise, prior = left.var(ddof=1), (PRIOR * y.std(ddof=1)) ** 2
    covariance = np.linalg.inv(x.T @ x / noise + np.eye(x.shape[1]) / prior)
    weight = covariance @ x.T @ left / noise
    weight[0] += slope
    np.testing.assert_allclose(policy.covariance.numpy(), covariance, rtol=1e-8)
    np.testing.assert_allclose(policy.weight.numpy(), weight, rtol=1e-8, atol=1e-10)


def test_what_was_seldom_shown_gets_a_larger_bonus():
    slates = log(200)
    policy = learned("lin_ucb", slates)
    usual, unusual = torch.tensor([0.0, 0.0]), torch.tensor([3.0, 0.0])
    spread = policy._spread(policy.inputs(torch.zeros(1, 1), torch.stack([usual, unusual]).unsqueeze(0)).double())[0]
    assert spread[1] > 2 * spread[0]
    twice = learned("lin_ucb", log(800))
    assert twice._spread(twice.inputs(torch.zeros(1, 1), unusual.view(1, 1, 2)).double())[0, 0] < spread[1]


def test_the_samples_spread_as_the_posterior():
    policy = learned("neural_linear", log(100))
    gone = policy.samples - policy.weight
    assert len(gone) == SAMPLES
    distance = torch.einsum("mf,fg,mg->m", gone, torch.linalg.inv(policy.covariance), gone)  # chi-squared of F degrees
    width = len(policy.weight)
    assert abs(distance.mean().item() - width) < 4 * (2 * width / SAMPLES) ** 0.5


def test_users_explore_differently_and_each_alike():
    slates = log(300)
    policy = learned("neural_linear", slates)
    same = slates.candidates[:1].expand(300, -1, -1)
    logits = policy(slates.user_vector, same, slates.mask)
    again = policy(slates.user_vector + 1e-7, same, slates.mask)
    assert len({tuple(row) for row in logits.argsort(dim=1).tolist()}) > 1
    assert (logits - again).abs().amax(1).median() < 1e-4 and ((logits - again).abs().amax(1) < 1e-3).float().mean() > 0.98


def test_what_was_shown_longer_ago_is_forgotten():
    slates = log(100)
    turned = dataclasses.replace(slates, reward=-slates.reward)
    once, twice = learned("lin_ucb", turned), learned("lin_ucb", slates)
    assert not torch.allclose(once.weight, twice.weight)
    twice.learn(turned, torch.zeros(100, 4), SETTINGS)
    assert torch.equal(once.weight, twice.weight)
