"""Policy gradients: exact against enumeration, and a refresh that raises the true value within its trust region."""

import dataclasses
from itertools import permutations, product

import numpy as np
import pytest
import torch

from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import make_policy
from models.policies.refresh import refresh_policy
from models.policy_gradient import expected_squares, independent_loss, prefix_weights, reinforce_loss, slate_kl
from models.records import LoggedSlates, SlateLimits
from models.slates import bound_logits

CONFIG = PolicyConfig(user_dim=2, candidate_dim=2, hidden=16, temperature=1.0)


def policy_logits(policy, slates):
    with torch.no_grad():
        return policy(slates.user_vector, slates.candidates, slates.mask)


def every_slate(behavior: torch.Tensor, reward) -> tuple[LoggedSlates, torch.Tensor]:
    """All slates of 2 from one context's candidates, and the probability that the behavior policy draws each."""
    action = torch.tensor(list(permutations(range(len(behavior)), 2)))
    n = len(action)
    first = behavior.softmax(0)[action[:, 0]]
    second = behavior.softmax(0)[action[:, 1]] / (1 - first)
    slates = LoggedSlates(
        torch.zeros(n, 1), torch.zeros(n, len(behavior), 1), torch.ones(n, len(behavior), dtype=torch.bool),
        behavior.expand(n, -1), action, torch.ones(n, 2, dtype=torch.bool), torch.stack([first, second], 1),
        torch.tensor([[reward(a[:1]), reward(a)] for a in action.tolist()], dtype=behavior.dtype),
        torch.zeros(n, dtype=torch.int64), torch.full((n,), -1), torch.zeros(n, dtype=torch.int64),
        SlateLimits.none(n, len(behavior), 2),
    )  # fmt: skip
    return slates, first * second


def test_the_expected_gradient_of_the_loss_is_that_of_the_value():
    behavior = torch.tensor([0.5, -0.3, 0.0, 1.0], dtype=torch.double)
    slates, chance = every_slate(behavior, lambda prefix: 1.0 + prefix[-1] - 0.5 * prefix[0] * len(prefix))
    target = torch.tensor([0.1, 0.4, -0.8, 0.2], dtype=torch.double, requires_grad=True)
    first = target.softmax(0)[slates.action[:, 0]]
    value = (first * target.softmax(0)[slates.action[:, 1]] / (1 - first) * slates.reward.sum(1)).sum()
    (exact,) = torch.autograd.grad(value, target)
    estimate = torch.zeros(4, dtype=torch.double)
    for i in range(len(slates)):
        loss = reinforce_loss(
            target.expand(1, 4), slates.rows(slice(i, i + 1)), torch.tensor([0.7, 0.2]), weight_cap=1e9
        )
        estimate -= chance[i] * torch.autograd.grad(loss, target)[0]
    torch.testing.assert_close(estimate, exact)


def test_the_expected_gradient_of_independent_draws_is_that_of_the_set_they_make():
    """Each of three items pays once where it is in the set of two draws with replacement."""
    behavior, pays = torch.tensor([0.5, -0.3, 0.2], dtype=torch.double), torch.tensor([1.0, 0.4, 2.0], dtype=torch.double)
    action = torch.tensor(list(product(range(3), repeat=2)))
    chance, n = behavior.softmax(0)[action].prod(1), len(action)
    target = torch.tensor([0.1, 0.4, -0.8], dtype=torch.double, requires_grad=True)
    in_set = 1 - (1 - target.softmax(0)) ** 2
    (exact,) = torch.autograd.grad((in_set * pays).sum(), target)
    slates = LoggedSlates(
        torch.zeros(n, 1), torch.zeros(n, 3, 1), torch.ones(n, 3, dtype=torch.bool), behavior.expand(n, -1), action,
        torch.ones(n, 2, dtype=torch.bool), behavior.softmax(0)[action], pays[action], torch.zeros(n, dtype=torch.int64),
        torch.full((n,), -1), torch.zeros(n, dtype=torch.int64), SlateLimits.none(n, 3, 2),
    )  # fmt: skip
    losses = [independent_loss(target.expand(1, 3), slates.rows(slice(i, i + 1)), weight_cap=1e9) for i in range(n)]
    estimate = -sum(chance[i] * torch.autograd.grad(losses[i], target)[0] for i in range(n))
    torch.testing.assert_close(estimate, exact)


def test_prefix_weights_by_hand_and_zero_beyond_the_shown():
    target = torch.tensor([[0.5, 0.2, -torch.inf]]).log().nan_to_num(nan=-torch.inf)
    propensity = torch.tensor([[0.25, 0.4, torch.nan]])
    weights = prefix_weights(target, propensity, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[2.0, 1.0, 0.0]]))


def test_expected_squares_are_the_mean_of_the_squared_weights_where_one_position_is_shown():
    behavior, other = torch.tensor([0.5, -0.3, 0.0, 1.0], dtype=torch.double), torch.tensor([0.1, 0.4, -0.8, 0.2], dtype=torch.double)
    slates, chance = every_slate(behavior, lambda prefix: 0.0)
    weight = (other.softmax(0) / behavior.softmax(0))[slates.action[:, 0]]
    squares = expected_squares(other.expand(len(slates), -1), slates)
    torch.testing.assert_close(squares[:, 0], (chance * weight.square()).sum().expand(len(slates)))
    second = (squares[:, 1] / squares[:, 0]).unsqueeze(1)  # given the first item
    left = torch.stack([other.expand(len(slates), -1), behavior.expand(len(slates), -1)]).scatter(
        2, slates.action[:, :1].expand(2, -1, -1), -torch.inf
    ).softmax(-1)  # fmt: skip
    torch.testing.assert_close(second[:, 0], (left[0].square() / left[1].clamp(min=1e-300)).sum(-1))


def test_slate_kl_equals_the_sum_over_slates():
    behavior = torch.tensor([0.5, -0.3, 0.0, 1.0], dtype=torch.double)
    slates, chance = every_slate(behavior, lambda prefix: 0.0)
    other = torch.tensor([0.1, 0.4, -0.8, 0.2], dtype=torch.double)
    first = other.softmax(0)[slates.action[:, 0]]
    other_chance = first * other.softmax(0)[slates.action[:, 1]] / (1 - first)
    exact = (chance * (chance / other_chance).log()).sum()
    kl = slate_kl(behavior.expand(12, 4), other.expand(12, 4), slates)
    torch.testing.assert_close((chance * kl).sum(), exact)


def test_a_new_policy_is_the_temperature_rule():
    policy, mask = make_policy(CONFIG), torch.rand(6, 5) < 0.8
    candidates = torch.randn(6, 5, 2)
    logits = policy(torch.randn(6, 2), candidates, mask)
    torch.testing.assert_close(logits, bound_logits(candidates[..., 0], mask, 1.0))


def test_refresh_raises_the_true_value_within_the_trust_region(make_slate_world):
    world = make_slate_world(users=40, per_user=100)
    policy = make_policy(CONFIG)
    slates = dataclasses.replace(world.slates, behavior_logits=policy_logits(policy, world.slates))
    slates = with_draws(world, slates)
    refreshed, report = refresh_policy(policy, slates, RefreshSettings(steps=150, lr=3e-3))
    one_each = slates.rows(torch.arange(0, 4000, 100))
    before, after = (world.true_value(policy_logits(p, one_each).double().numpy()) for p in (policy, refreshed))
    assert after > before + 0.02
    assert 0 < report.kl_mean <= 0.15 and report.kl_p99 <= 1.0 and report.clipped_fraction < 0.05


def with_draws(world, slates):
    """The world's slates drawn anew from slates.behavior_logits, with the world's rewards."""
    random = np.random.default_rng(5)
    logits = slates.behavior_logits.numpy()
    action = np.argsort(-(logits + random.gumbel(size=logits.shape)), axis=1)[:, :3]
    propensity, chance = np.zeros(action.shape), np.zeros(action.shape)
    for s, (user, slate) in enumerate(zip(slates.user.tolist(), action.tolist(), strict=True)):
        left = np.exp(logits[s])
        for k, item in enumerate(slate):
            propensity[s, k] = left[item] / left.sum()
            left[item] = 0
            chance[s, k] = world.click_probability(user, slate, k)
    reward = (random.random(chance.shape) < chance).astype(np.float32)
    return dataclasses.replace(
        slates,
        action=torch.from_numpy(action),
        propensity=torch.from_numpy(propensity).float(),
        reward=torch.from_numpy(reward),
    )


def test_the_trust_region_holds_when_the_steps_overshoot(make_slate_world):
    slates = make_slate_world(users=20, per_user=20).slates
    policy = make_policy(CONFIG)
    refreshed, report = refresh_policy(policy, slates, RefreshSettings(steps=3, lr=1.0, kl_limit=0.01))
    kl = slate_kl(policy_logits(policy, slates), policy_logits(refreshed, slates), slates)
    assert 0 < kl.mean() <= 0.01
    assert report.kl_mean == pytest.approx(kl.mean().item(), rel=1e-4)


def test_refresh_repeats_to_the_bit_and_leaves_its_input(make_slate_world):
    slates = make_slate_world(users=10, per_user=10).slates
    policy = make_policy(CONFIG)
    first, second = (refresh_policy(policy, slates, RefreshSettings(steps=5))[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not policy.out.weight.any() and not policy.fitted


def test_the_top_k_correction_corrects_draws_without_replacement_twice():
    """Its expected gradient on Plackett-Luce slates points elsewhere than the value's, where that of prefixes is exact."""
    behavior = torch.tensor([1.5, 0.3, 0.0, -1.0], dtype=torch.double)
    pays = torch.tensor([0.2, 1.0, 0.1, 0.7], dtype=torch.double)
    slates, chance = every_slate(behavior, lambda prefix: pays[prefix[-1]].item())
    target = torch.tensor([1.6, 0.2, 0.1, -0.9], dtype=torch.double, requires_grad=True)
    first = target.softmax(0)[slates.action[:, 0]]
    value = (first * target.softmax(0)[slates.action[:, 1]] / (1 - first) * slates.reward.sum(1)).sum()
    (exact,) = torch.autograd.grad(value, target)
    top_1 = dataclasses.replace(slates, propensity=behavior.softmax(0)[slates.action])
    cosines = {}
    for name, loss in (
        ("prefixes", lambda row: reinforce_loss(target.expand(1, 4), slates.rows(row), torch.zeros(2), 1e9)),
        ("independent", lambda row: independent_loss(target.expand(1, 4), top_1.rows(row), 1e9)),
    ):
        rows = [slice(i, i + 1) for i in range(len(slates))]
        expected = -sum(p * torch.autograd.grad(loss(row), target)[0] for p, row in zip(chance, rows, strict=True))
        cosines[name] = torch.cosine_similarity(expected, exact, dim=0).item()
    assert cosines["prefixes"] == pytest.approx(1.0) and cosines["independent"] < 0.9
