import dataclasses
from itertools import permutations

import numpy as np
import pytest
import torch

from models.policy import Policy, PolicyConfig, RefreshSettings, refresh_policy, slate_kl
from models.policy_gradient import prefix_weights, reinforce_loss
from models.records import LoggedSlates
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
        torch.zeros(n, dtype=torch.int64),
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


def test_prefix_weights_by_hand_and_zero_beyond_the_shown():
    target = torch.tensor([[0.5, 0.2, -torch.inf]]).log().nan_to_num(nan=-torch.inf)
    propensity = torch.tensor([[0.25, 0.4, torch.nan]])
    weights = prefix_weights(target, propensity, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[2.0, 1.0, 0.0]]))


def test_slate_kl_equals_the_sum_over_slates():
    behavior = torch.tensor([0.5, -0.3, 0.0, 1.0], dtype=torch.double)
    slates, chance = every_slate(behavior, lambda prefix: 0.0)
    other = torch.tensor([0.1, 0.4, -0.8, 0.2], dtype=torch.double)
    first = other.softmax(0)[slates.action[:, 0]]
    other_chance = first * other.softmax(0)[slates.action[:, 1]] / (1 - first)
    exact = (chance * (chance / other_chance).log()).sum()
    kl = slate_kl(behavior.expand(12, 4), other.expand(12, 4), slates.action, slates.shown)
    torch.testing.assert_close((chance * kl).sum(), exact)


def test_a_new_policy_is_the_temperature_rule():
    policy, mask = Policy(CONFIG), torch.rand(6, 5) < 0.8
    candidates = torch.randn(6, 5, 2)
    logits = policy(torch.randn(6, 2), candidates, mask)
    torch.testing.assert_close(logits, bound_logits(candidates[..., 0], mask, 1.0))


def test_refresh_raises_the_true_value_within_the_trust_region(make_slate_world):
    world = make_slate_world(users=40, per_user=100)
    policy = Policy(CONFIG)
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
    policy = Policy(CONFIG)
    refreshed, report = refresh_policy(policy, slates, RefreshSettings(steps=3, lr=1.0, kl_limit=0.01))
    kl = slate_kl(policy_logits(policy, slates), policy_logits(refreshed, slates), slates.action, slates.shown)
    assert 0 < kl.mean() <= 0.01
    assert report.kl_mean == pytest.approx(kl.mean().item(), rel=1e-4)


def test_refresh_repeats_to_the_bit_and_leaves_its_input(make_slate_world):
    slates = make_slate_world(users=10, per_user=10).slates
    policy = Policy(CONFIG)
    first, second = (refresh_policy(policy, slates, RefreshSettings(steps=5))[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not policy.out.weight.any() and not policy.fitted


@pytest.mark.parametrize("bad", [torch.nan, 0.0, -0.1, 1.5])
def test_a_shown_position_without_a_propensity_is_refused(make_slate_world, bad):
    slates = make_slate_world(users=2, per_user=2).slates
    slates.propensity[1, 2] = bad
    with pytest.raises(ValueError, match="of 12 shown, "):
        refresh_policy(Policy(CONFIG), slates, RefreshSettings(steps=1))
    unseen = dataclasses.replace(slates, shown=slates.shown & torch.tensor([True, True, False]))
    refresh_policy(Policy(CONFIG), unseen, RefreshSettings(steps=1))


def test_no_slates_keep_the_policy():
    empty = LoggedSlates(
        torch.zeros(0, 2), torch.zeros(0, 5, 2), torch.zeros(0, 5, dtype=torch.bool), torch.zeros(0, 5),
        torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.bool), torch.zeros(0, 3), torch.zeros(0, 3),
        torch.zeros(0, dtype=torch.int64),
    )  # fmt: skip
    _, report = refresh_policy(Policy(CONFIG), empty, RefreshSettings())
    assert report.steps == 0
