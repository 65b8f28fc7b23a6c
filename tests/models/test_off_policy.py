import dataclasses

import numpy as np
import pytest
import torch

from models.off_policy import (
    bootstrap_t,
    cascade_doubly_robust,
    difference,
    evidence_weights,
    propensity_audit,
    reward_interaction_ips,
    value,
)  # fmt: skip


def test_rips_is_unbiased_where_the_truth_is_known(make_slate_world):
    world = make_slate_world(users=40, per_user=100)
    target = 0.5 * world.behavior + 0.5 * world.quality
    truth = world.true_value(target)
    for normalized in (False, True):
        per_slate = reward_interaction_ips(world.slates, world.logits_of(target), normalized).numpy()
        error = per_slate.std() / np.sqrt(len(per_slate))
        assert abs(per_slate.mean() - truth) < 3 * error
    assert truth != pytest.approx(world.true_value(world.behavior), abs=0.02)


def predictions(world):
    """What each item is clicked at the top, and a prediction that knows nothing."""
    known = torch.from_numpy(world.quality)[world.slates.user].sigmoid()
    return {"good": known, "none": torch.zeros_like(known), "wrong": 1 - known}


def test_cascade_dr_is_unbiased_whatever_is_predicted_and_narrower_where_it_is_right(make_slate_world):
    world = make_slate_world(users=40, per_user=100)
    target = 0.3 * world.behavior + 0.7 * world.quality
    truth, logits = world.true_value(target), world.logits_of(target)
    spread = {"rips": reward_interaction_ips(world.slates, logits).numpy().std()}
    for name, predicted in predictions(world).items():
        per_slate = cascade_doubly_robust(world.slates, logits, predicted).numpy()
        spread[name] = per_slate.std()
        assert abs(per_slate.mean() - truth) < 3 * spread[name] / np.sqrt(len(per_slate)), name
    assert spread["good"] < 0.8 * spread["rips"] and spread["good"] < spread["wrong"]


def test_cascade_dr_knows_what_was_not_looked_at_and_what_rules_bind(make_slate_world):
    """Users stop looking after the first click: what is below is not shown, and earns nothing."""
    world = make_slate_world(users=40, per_user=200)
    slates = world.slates
    shown = torch.cat([torch.ones(len(slates), 1), 1 - slates.reward.cumsum(1)[:, :-1].clamp(max=1)], dim=1) > 0
    cut = dataclasses.replace(slates, shown=shown, reward=slates.reward * shown)
    target = world.logits_of(0.5 * world.behavior + 0.5 * world.quality)
    by_dr, by_rips = (value(cut, target, predicted=predicted) for predicted in (predictions(world)["good"], None))
    assert by_dr.low < by_rips.mean < by_dr.high and by_dr.high - by_dr.low < by_rips.high - by_rips.low


@pytest.mark.parametrize("with_prediction", [False, True])
def test_intervals_over_users_cover_the_truth(make_slate_world, with_prediction):
    covered = 0
    for seed in range(20):
        world = make_slate_world(users=30, per_user=10, seed=seed)
        target = 0.5 * world.behavior + 0.5 * world.quality
        predicted = predictions(world)["good"] if with_prediction else None
        found = value(world.slates, world.logits_of(target), resamples=300, predicted=predicted)
        covered += found.low <= world.true_value(target) <= found.high
    assert covered >= 17  # of 20 at 95 %


def test_the_difference_of_a_policy_to_itself_is_exactly_zero(make_slate_world):
    world = make_slate_world(users=5, per_user=5)
    logits = world.logits_of(world.quality)
    found = difference(world.slates, logits, logits)
    assert (found.mean, found.low, found.high, found.n) == (0.0, 0.0, 0.0, 25)


def test_the_behavior_policy_is_worth_its_mean_reward_with_full_sample_size(make_slate_world):
    world = make_slate_world(users=10, per_user=10)
    found = value(world.slates, world.slates.behavior_logits)
    assert found.mean == pytest.approx(world.slates.reward.sum(1).mean().item(), rel=1e-4)
    assert found.effective_sample_size == pytest.approx(100, rel=1e-3)
    assert found.max_importance_weight == pytest.approx(1, rel=1e-3)


def test_one_user_gives_no_interval():
    assert bootstrap_t(np.ones(3), np.zeros(3, dtype=np.int64), 0.95, 7, 10) == (1.0, -np.inf, np.inf)


def test_resampling_slates_of_one_user_together_widens_the_interval():
    random = np.random.default_rng(0)
    per_slate = np.repeat(random.normal(size=50), 20)
    users = np.repeat(np.arange(50), 20)
    _, low, high = bootstrap_t(per_slate, users, 0.95, 7, 1000)
    _, naive_low, naive_high = bootstrap_t(per_slate, np.arange(1000), 0.95, 7, 1000)
    assert high - low > 3.5 * (naive_high - naive_low)  # sqrt(20) = 4.5
    normal = 2 * 1.96 * per_slate[::20].std() / np.sqrt(50)
    assert high - low == pytest.approx(normal, rel=0.15)


def test_the_audit_passes_what_was_drawn_and_catches_what_was_not(make_slate_world):
    slates = make_slate_world(users=40, per_user=100).slates
    error, mean, standard_error = propensity_audit(slates)
    assert error < 1e-6 and abs(mean - 1) <= 3 * standard_error
    short = dataclasses.replace(
        slates, shown=(slates.reward.cumsum(1) - slates.reward) == 0
    )  # stops at the first click
    _, mean, standard_error = propensity_audit(short)
    assert abs(mean - 1) <= 3 * standard_error
    flat = dataclasses.replace(slates, propensity=torch.full_like(slates.propensity, 0.2))
    error, mean, standard_error = propensity_audit(flat)
    assert error > 0.1 and abs(mean - 1) > 3 * standard_error


def test_a_missing_propensity_is_refused(make_slate_world):
    slates = make_slate_world(users=2, per_user=2).slates
    slates.propensity[0, 0] = torch.nan
    with pytest.raises(ValueError, match="1 are missing and 0 lie outside"):
        value(slates, slates.behavior_logits)


def test_slates_of_a_far_policy_do_not_drown_those_of_a_near_one(make_slate_world):
    """Half of the slates were drawn by a policy of the opposite taste: they add what they know, and take nothing away."""
    covered, width = 0, {"both": 0.0, "as one": 0.0, "near": 0.0}
    for seed in range(20):
        world = make_slate_world(users=40, per_user=40, seed=seed, drawn_by=(1.0, -1.0))
        target = world.behavior + 0.3 * world.quality
        slates, logits = world.slates, world.logits_of(target)
        near = slates.drawn_by == 0
        as_one = dataclasses.replace(slates, drawn_by=torch.zeros_like(slates.drawn_by))
        found = {
            "both": value(slates, logits, resamples=300), "as one": value(as_one, logits, resamples=300),
            "near": value(slates.rows(near), logits[near], resamples=300),
        }  # fmt: skip
        covered += found["both"].low <= world.true_value(target) <= found["both"].high
        width = {name: width[name] + one.high - one.low for name, one in found.items()}
        assert found["as one"].effective_sample_size < found["both"].effective_sample_size
    assert covered >= 17  # of 20 at 95 %
    assert width["both"] < 1.05 * width["near"] < 0.8 * width["as one"]


def test_what_a_slate_counts_by_hand(make_slate_world):
    """Slates of one policy count alike; of a uniform draw of the first of two that pay, each is worth (1/5) / sum of squared chances."""
    world = make_slate_world(users=1, per_user=200, drawn_by=(1.0, 0.0))
    slates, logits = world.slates, world.logits_of(world.behavior)
    own = slates.drawn_by == 0
    torch.testing.assert_close(evidence_weights(slates.rows(own), logits[own]), torch.ones(100, dtype=torch.double))
    only_first = torch.zeros_like(slates.shown)
    only_first[:, 0] = True
    counts = evidence_weights(dataclasses.replace(slates, shown=only_first), logits)
    chance = np.exp(world.behavior[0]) / np.exp(world.behavior[0]).sum()
    share = (1 / 5) / (chance**2).sum()
    assert counts[own].tolist() == pytest.approx([2 / (1 + share)] * 100, rel=1e-5)
    assert counts[~own].tolist() == pytest.approx([2 * share / (1 + share)] * 100, rel=1e-5)
