"""What every learner must do, whatever it learns by."""

import dataclasses

import numpy as np
import pytest
import torch

from models.artifacts import load_policy, save_policy
from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import LEARNERS, make_policy
from models.policies.refresh import all_logits, refresh_policy
from models.policy_gradient import slate_entropy, slate_kl

LEARNING = ("reinforce", "topk_independent", "slate_q", "neural_linear", "lin_ucb")
FAR = RefreshSettings(steps=150, lr=3e-3, kl_limit=5.0, kl_p99_limit=50.0, least_entropy=0.0)
NEAR = RefreshSettings(steps=20, lr=1e-2, kl_limit=0.05, kl_p99_limit=0.5)


def config(learner):
    return PolicyConfig(user_dim=2, candidate_dim=2, hidden=16, temperature=1.0, learner=learner)


@pytest.fixture
def make_log(make_slate_world):
    """The slate world's log, as each learner may read it."""

    def make(learner, users=20, per_user=20):
        world = make_slate_world(users=users, per_user=per_user)
        return world, independent(world) if learner == "topk_independent" else world.slates

    return make


def independent(world):
    """The world's slates with every position drawn by itself."""
    random, slates = np.random.default_rng(3), world.slates
    chance = torch.softmax(slates.behavior_logits.double(), -1)
    action = torch.from_numpy(np.stack([random.choice(chance.shape[1], 3, p=row) for row in chance.numpy()]))
    drawn = zip(slates.user.tolist(), action.tolist(), strict=True)
    clicked = [[world.click_probability(user, tuple(slate), k) for k in range(3)] for user, slate in drawn]
    reward = torch.from_numpy((random.random((len(slates), 3)) < np.array(clicked)).astype(np.float32))
    return dataclasses.replace(slates, action=action, propensity=chance.gather(1, action).float(), reward=reward)


@pytest.mark.parametrize("learner", LEARNERS)
def test_nothing_learned_is_an_exploring_order_by_utility(learner):
    policy, mask = make_policy(config(learner)), torch.rand(50, 6) < 0.7
    mask[:, 0] = True
    candidates = torch.randn(50, 6, 2)
    candidates[~mask] = torch.nan
    logits = policy(torch.randn(50, 2), candidates, mask)
    assert torch.equal(torch.isfinite(logits), mask)
    best = candidates[..., 0].masked_fill(~mask, -torch.inf).argmax(1)
    assert torch.equal(logits.argmax(1), best)
    assert (logits.amax(1) - logits.masked_fill(~mask, torch.inf).amin(1)).max() <= 7 + 1e-5


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_refresh_repeats_to_the_bit_leaves_its_input_and_resumes_from_disk(make_log, tmp_path, learner):
    _, slates = make_log(learner)
    policy = make_policy(config(learner))
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    once, _ = refresh_policy(policy, slates, NEAR)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
    twice, report = refresh_policy(once, slates, NEAR)
    save_policy(refresh_policy(policy, slates, NEAR)[0], tmp_path / "policy")
    resumed, other = refresh_policy(load_policy(tmp_path / "policy"), slates, NEAR)
    assert report == other and type(resumed) is LEARNERS[learner]
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in twice.state_dict().items())


@pytest.mark.parametrize("learner", LEARNING)
def test_what_was_learned_raises_the_true_value(make_log, learner):
    world, slates = make_log(learner, users=30, per_user=80)
    policy = make_policy(config(learner))
    learned, report = refresh_policy(policy, slates, FAR)
    each = world.slates.rows(torch.arange(0, 2400, 80))
    before, after = (world.true_value(all_logits(one, each).double().numpy()) for one in (policy, learned))
    assert after > before + 0.1 and report.kl_mean > 0.05


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_trust_region_holds_whatever_was_learned(make_log, learner):
    _, slates = make_log(learner)
    policy = make_policy(config(learner))
    policy.fit_statistics(slates.user_vector, slates.candidates, slates.mask)
    hasty = dataclasses.replace(NEAR, lr=0.5, least_entropy=0.9)
    refreshed, report = refresh_policy(policy, slates, hasty)
    start, new = all_logits(policy, slates), all_logits(refreshed, slates)
    kl = slate_kl(start, new, slates)
    assert kl.mean() <= hasty.kl_limit and kl.quantile(0.99) <= hasty.kl_p99_limit
    spread = [slate_entropy(logits, slates).mean() for logits in (start, new)]
    assert spread[1] >= 0.9 * spread[0] - 1e-6
    assert report.kl_mean == pytest.approx(kl.mean().item(), abs=1e-6)
    assert (report.share == 1.0) == (learner in ("softmax", "epsilon_greedy")) or report.kl_mean > 0


@pytest.mark.parametrize("learner", ["reinforce", "softmax", "slate_q", "lin_ucb"])
def test_a_refresh_brings_the_temperature_nearer_within_its_limits_and_in_the_end_there(make_log, learner):
    _, slates = make_log(learner)
    policy = make_policy(config(learner))
    tight = dataclasses.replace(NEAR, steps=2, lr=1e-5, least_entropy=0.2)
    found = [policy]
    for _ in range(40):
        refreshed, report = refresh_policy(found[-1], slates, tight, temperature=0.4)
        assert report.kl_mean <= tight.kl_limit
        found.append(refreshed)
    assert 0.4 < found[1].temperature < 1.0 and found[-1].temperature == pytest.approx(0.4, rel=0.01)
    assert found[1].config.temperature == 1.0, "the config is what it began with"


def test_an_older_policy_holds_a_refresh_back(make_log):
    _, slates = make_log("reinforce")
    old = make_policy(config("reinforce"))
    now, _ = refresh_policy(old, slates, FAR)
    moved = slate_kl(all_logits(old, slates), all_logits(now, slates), slates).mean().item()
    tight = dataclasses.replace(FAR, anchor_kl_limit=1.05 * moved)
    free, held = (refresh_policy(now, slates, tight, anchor)[1] for anchor in (None, old))
    assert held.anchor_kl <= 1.05 * moved and held.share < free.share == 1.0


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("bad", [torch.nan, 0.0, 1.5])
def test_a_shown_position_without_a_propensity_is_refused(make_log, learner, bad):
    _, slates = make_log(learner, users=2, per_user=2)
    slates.propensity[1, 2] = bad
    with pytest.raises(ValueError, match="of 12 shown, "):
        refresh_policy(make_policy(config(learner)), slates, NEAR)
    unseen = dataclasses.replace(slates, shown=slates.shown & torch.tensor([True, True, False]))
    refresh_policy(make_policy(config(learner)), unseen, dataclasses.replace(NEAR, steps=1))


@pytest.mark.parametrize("learner", LEARNERS)
def test_no_slates_keep_the_policy(make_log, learner):
    _, slates = make_log(learner, users=2, per_user=2)
    policy = make_policy(config(learner))
    kept, report = refresh_policy(policy, slates.rows(slice(0, 0)), NEAR)
    assert report.steps == 0 and all(torch.equal(tensor, policy.state_dict()[name]) for name, tensor in kept.state_dict().items())


def test_the_top_k_correction_refuses_draws_without_replacement(make_slate_world):
    slates = make_slate_world(users=2, per_user=20).slates
    with pytest.raises(ValueError, match=r"of 120 shown positions, \d+ have the propensity of a draw without replacement; use reinforce"):
        refresh_policy(make_policy(config("topk_independent")), slates, NEAR)


def test_a_learner_that_is_none_is_named():
    with pytest.raises(ValueError, match="unknown learner 'greedy'; expected one of reinforce, "):
        make_policy(config("greedy"))


def test_a_reward_that_is_no_number_is_named(make_log):
    for learner in ("reinforce", "slate_q", "neural_linear"):
        _, slates = make_log(learner, users=2, per_user=2)
        slates.reward[0, 0] = torch.inf
        with pytest.raises(FloatingPointError, match="look for non-finite rewards or features"):
            refresh_policy(make_policy(config(learner)), slates, NEAR)
