"""Why the numbers are made as they are: worlds in which the obvious other way is wrong, and by how much."""

import dataclasses

import numpy as np
import pytest
import torch

from models.hashing import gumbel, id_hash
from models.off_policy import bootstrap_t, difference, propensity_audit
from models.ope import Evaluation, LoggedSlateArrays, item_position_marginals
from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import make_policy
from models.policies.refresh import refresh_policy
from models.policy_gradient import prefix_weights, slate_kl
from models.records import LoggedSlates, SlateLimits
from models.slates import conditional_log_probs, draw

USERS, ITEMS, SIZE = 4000, 8, 3
NAMES, OF_ITEMS = id_hash([f"u{n}" for n in range(USERS)]), id_hash([f"i{n}" for n in range(ITEMS)])


def drawn(logits: torch.Tensor, hour: int, rewards=None) -> LoggedSlates:
    """A slate of SIZE for each of the first users by these logits (U, ITEMS), with the hour's noise."""
    users = len(logits)
    noise = torch.from_numpy(gumbel(7, NAMES[:users], np.broadcast_to(OF_ITEMS, (users, ITEMS)), hour))
    action, propensity = draw(logits, noise, SlateLimits.none(users, ITEMS, SIZE))
    reward = torch.zeros(users, SIZE) if rewards is None else rewards(action)
    return LoggedSlates(
        torch.zeros(users, 1), logits.unsqueeze(2).float(), torch.ones(users, ITEMS, dtype=torch.bool), logits, action,
        torch.ones(users, SIZE, dtype=torch.bool), propensity, reward.float(), torch.arange(users), torch.full((users,), -1),
        torch.zeros(users, dtype=torch.int64), SlateLimits.none(users, ITEMS, SIZE),
    )  # fmt: skip


@pytest.fixture
def taste():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(USERS, ITEMS)))


def overlap(one: LoggedSlates, other: LoggedSlates) -> float:
    """Share of a slate that stands in the other one too."""
    return float((one.action.unsqueeze(2) == other.action.unsqueeze(1)).any(2).double().mean())


def test_churn_under_other_noise_is_the_noise_and_under_the_same_the_policys(taste):
    first, step = drawn(taste, hour=1), taste + 0.05 * taste.flip(1)
    assert overlap(first, drawn(taste, hour=1)) == 1.0 and overlap(first, drawn(step, hour=1)) > 0.95
    assert overlap(first, drawn(taste, hour=2)) < 0.6, "one and the same policy"


@pytest.mark.parametrize(("noise_of", "passes"), [(2, True), (1, False)])
def test_noise_of_an_hour_before_makes_propensities_wrong_once_people_have_answered(taste, noise_of, passes):
    """What was on top is reacted to and moves: down where it is not to come again. Its noise was high, and would be once more."""
    first = drawn(taste, hour=1)
    learned = taste.scatter_add(1, first.action[:, :1], torch.full((USERS, 1), -1.0, dtype=taste.dtype))
    error, mean, standard_error = propensity_audit(drawn(learned, hour=noise_of))
    assert error < 1e-9, "as far as the kept draw tells, all is well"
    assert (abs(mean - 1) <= 3 * standard_error) == passes


def test_a_policy_judged_on_the_slates_that_taught_it_looks_better_where_all_policies_are_equal():
    """Nothing that is shown matters here. What was learned on one half of the users is judged on both halves."""
    gains = {"own": [], "other": []}
    for seed in range(6):
        random = np.random.default_rng(seed)
        logits = torch.from_numpy(random.normal(size=(600, ITEMS)) * 0.3)
        slates = drawn(logits, hour=seed, rewards=lambda action, random=random: torch.from_numpy(random.random(action.shape) < 0.2))
        vectors = torch.from_numpy(random.normal(size=(600, 12))).float()
        slates = dataclasses.replace(slates, user_vector=vectors, candidates=torch.cat([slates.candidates, torch.from_numpy(
            random.normal(size=(600, ITEMS, 4))).float()], 2))  # fmt: skip
        policy = make_policy(PolicyConfig(user_dim=12, candidate_dim=5, hidden=64, temperature=1.0))
        with torch.no_grad():
            behavior = policy(slates.user_vector, slates.candidates, slates.mask)
        slates = dataclasses.replace(redrawn(slates, behavior, seed), user_vector=slates.user_vector)
        taught, kept = slates.rows(slice(0, 300)), slates.rows(slice(300, 600))
        learned, _ = refresh_policy(policy, taught, RefreshSettings(steps=150, lr=3e-3, kl_limit=0.5))
        for name, log in (("own", taught), ("other", kept)):
            with torch.no_grad():
                target = learned(log.user_vector, log.candidates, log.mask)
            gains[name].append(difference(log, target, log.behavior_logits, resamples=200).mean / log.reward.sum(1).mean().item())
    own, other = np.array(gains["own"]), np.array(gains["other"])
    assert own.min() > 0.1 and own.mean() > 0.2
    assert abs(other.mean()) < 3 * other.std(ddof=1) / np.sqrt(len(other))


def redrawn(slates: LoggedSlates, logits: torch.Tensor, hour: int) -> LoggedSlates:
    """The log as a policy of these logits would have drawn it; its rewards stand, since nothing that is shown matters."""
    new = drawn(logits.double(), hour)
    return dataclasses.replace(slates, behavior_logits=new.behavior_logits, action=new.action, propensity=new.propensity)


def test_intervals_over_slates_hold_the_truth_half_as_often_as_those_over_users():
    """People differ more than their slates: 40 users, 25 slates each."""
    held = {"users": 0, "slates": 0}
    for seed in range(200):
        random = np.random.default_rng(seed)
        user = np.repeat(np.arange(40), 25)
        reward = random.normal(size=40)[user] + random.normal(size=1000)
        for name, unit in (("users", user), ("slates", np.arange(1000))):
            _, low, high = bootstrap_t(reward, unit, 0.95, seed, 200)
            held[name] += low <= 0 <= high
    assert held["users"] > 180 and held["slates"] < 120


def test_iips_wants_an_items_chance_at_its_position_whatever_stands_above():
    """Each position pays by its own item. On conditionals, which the log keeps, the value of a policy that turns the order is too high."""
    behavior = torch.tensor([1.5, 0.5, 0.0, -0.5, -1.5, 0.0, 0.3, -1.0], dtype=torch.double)
    target, worth = -behavior, np.exp(-behavior.numpy())
    users = 4000
    rows = drawn(behavior.expand(users, -1), hour=3)
    action = rows.action.numpy()
    every = np.repeat(np.arange(ITEMS)[:, None], SIZE, 1)  # each item at each position
    chance = [item_position_marginals(logits.expand(ITEMS, -1).numpy(), every) for logits in (behavior, target)]
    old, new = (of[action, np.arange(SIZE)] for of in chance)
    truth = float((chance[1] * worth[:, None]).sum())
    limits = SlateLimits.none(users, ITEMS, SIZE)
    own, other = (conditional_log_probs(logits.expand(users, -1), rows.action, limits).exp().numpy() for logits in (behavior, target))
    found = {}
    for name, pair in (("marginals", (old, new)), ("conditionals", (own, other))):
        evaluation = Evaluation("iips")
        evaluation.add(LoggedSlateArrays(
            reward=worth[action], propensity=own, target_propensity=other, shown=np.ones(action.shape, dtype=bool), user=np.arange(users),
            marginal=pair[0], target_marginal=pair[1],
        ))  # fmt: skip
        found[name] = evaluation.result(resamples=200).values["iips"]
    assert found["marginals"].low < truth < found["marginals"].high
    assert found["conditionals"].low > truth


def test_the_reciprocal_of_a_sampled_marginal_is_too_large():
    """An item with a chance of 1 in 50 at its position, sampled 200 times: 1/q is off by the share (1 - q) / (200 q)."""
    sampled = np.random.default_rng(0).binomial(200, 0.02, 100_000) / 200
    assert (0.02 / sampled[sampled > 0]).mean() > 1.2


def test_what_a_step_leaves_of_a_log_falls_with_its_size(taste):
    """About exp(-2 KL) of the slates: what the trust region's 0.15 nats stand for."""
    slates = drawn(taste, hour=4)
    for share in (0.1, 0.2, 0.3):
        target = taste + share * torch.from_numpy(np.random.default_rng(2).normal(size=taste.shape))
        log_probs = conditional_log_probs(target, slates.action, slates.limits)
        weight = prefix_weights(log_probs, slates.propensity, slates.shown)[:, -1]
        kl = slate_kl(target, slates.behavior_logits, slates).mean().item()
        assert (weight.sum() ** 2 / weight.square().sum()).item() / USERS == pytest.approx(np.exp(-2 * kl), rel=0.1)


def test_a_uniform_share_is_no_floor_of_a_draw_without_replacement():
    """Softmax mixed with chance at each position is another distribution than Gumbel noise on the mixed chances draws from."""
    logits = torch.tensor([4.0, 1.0, 0.0, 0.0], dtype=torch.double)
    mixed = 0.8 * logits.softmax(0) + 0.2 / 4
    noise_draws = mixed[1:] / (1 - mixed[0])  # the second item below the likeliest one
    wanted = 0.8 * logits[1:].softmax(0) + 0.2 / 3
    assert (noise_draws - wanted).abs().max() > 0.1
