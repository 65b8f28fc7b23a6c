"""Where a policy goes on from, and that each learner learns from the slates that recloop itself drew and showed."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.artifacts import load_policy
from pipelines.hours import hour_number, shift
from pipelines.registry.releases import append_decision, release_folder
from pipelines.steps.candidates import BOTH, CHALLENGER, RANKER, RANKER_ONLY, candidate_folder, challenger_folder
from pipelines.steps.fixed_users import USERS
from pipelines.steps.logged_slates import following
from pipelines.steps.policy_judging import judged, session_return
from pipelines.steps.policy_learning import ANCHOR_H, as_spread, challenger, lineage, refreshed
from pipelines.steps.refresh_policy import _page
from pipelines.steps.step import Attempt

LEARNERS = ("reinforce", "slate_q", "neural_linear", "lin_ucb", "softmax", "epsilon_greedy")
HOUR = "2026-11-10T09"


@pytest.fixture
def with_policy(settings, champion, save_release):
    """Settings with other policy settings, of a root whose first release is in production and whose hour has a ranker candidate."""
    append_decision(settings, champion, None)
    for hour in (HOUR, shift(HOUR, ANCHOR_H)):
        save_release(candidate_folder(settings, hour).parent / hour, text_dim=6)
        assert (candidate_folder(settings, hour) / RANKER).exists()

    def make(**policy):
        return settings.model_copy(update={"policy": settings.policy.model_copy(update=policy)})

    return make


def test_a_policy_goes_on_from_production_under_the_settings_of_now(with_policy, champion):
    own = lineage(with_policy(bonus=0.2), HOUR).policy
    released = load_policy(release_folder(with_policy(), champion.release_id) / "policy")
    assert own.config.bonus == 0.2 and own.config.hidden == released.config.hidden
    assert all(torch.equal(tensor, released.state_dict()[name]) for name, tensor in own.state_dict().items())


def test_another_learner_begins_with_nothing_learned(with_policy):
    first, again = (lineage(with_policy(learner="slate_q"), HOUR).policy for _ in range(2))
    assert first.config.learner == "slate_q" and first.share == 0
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in first.state_dict().items())


def test_the_anchor_is_the_policy_of_a_week_ago(with_policy):
    later = shift(HOUR, ANCHOR_H)
    assert lineage(with_policy(), HOUR).anchor is None
    assert lineage(with_policy(), later).anchor is not None
    assert lineage(with_policy(learner="softmax"), later).anchor is None


@pytest.mark.parametrize("learner", LEARNERS)
def test_each_learner_learns_from_the_log(with_policy, log, learner):
    settings = with_policy(learner=learner, steps=10)
    own = lineage(settings, HOUR)
    policy, report, slates = refreshed(log, own)
    learns = learner not in ("softmax", "epsilon_greedy")
    assert slates > 30 and policy.config.learner == learner
    assert (report.kl_mean > 0) == learns and report.kl_mean <= settings.policy.kl_limit
    assert all(bool(torch.isfinite(tensor).all()) for tensor in policy.state_dict().values() if tensor.is_floating_point())


def other_vectors(log):
    """The log by the vectors of another encoder, of other values and another width."""
    vectors = torch.randn(len(log.catalogue.table.vectors), 9, generator=torch.Generator().manual_seed(3))
    vectors[0] = 0.0
    table = dataclasses.replace(log.catalogue.table, vectors=vectors)
    return dataclasses.replace(log, catalogue=dataclasses.replace(log.catalogue, table=table))


def test_a_challenger_of_another_encoder_is_judged_by_its_own_vectors_with_a_policy_that_starts_anew(with_policy, log, save_release):
    settings = with_policy()
    own = lineage(settings, HOUR)
    save_release(challenger_folder(settings, HOUR), text_dim=9, encoder_version="another")
    found = challenger(settings, HOUR, own)
    assert found.policy.temperature == own.champion.policy.temperature
    assert found.policy.config.hidden != own.champion.policy.config.hidden and not found.policy.out.weight.any(), "made anew"
    theirs = other_vectors(log)
    spread = as_spread(log, theirs, own.champion, found)
    assert spread.policy.temperature >= found.policy.temperature
    figures, _ = judged(log, own, own.policy, (spread, theirs))
    entropy = {metric.subject: metric.value for metric in figures if metric.name == "gate_slate_entropy_ratio"}
    assert entropy[CHALLENGER] >= 0.85, "nine tenths of production's, on the slates that teach"
    save_release(challenger_folder(settings, HOUR), text_dim=6)
    same = challenger(settings, HOUR, own)
    assert same.policy is own.champion.policy, "with production's encoder it keeps production's policy"


def test_a_refresh_is_judged_beside_production_and_the_log(with_policy, log, tables):
    own = lineage(with_policy(steps=10), HOUR)
    policy, _, _ = refreshed(log, own)
    figures, record = judged(log, own, policy)
    names = {(metric.name, metric.subject) for metric in figures}
    assert names >= {("policy_churn", "candidate"), *(("policy_value", subject) for subject in ("candidate", "production", "logged"))}
    assert {("gate_policy_value_ratio", BOTH), ("gate_policy_value_ratio", RANKER_ONLY)} <= names
    assert record is not None and record.values["logged"].mean == pytest.approx(log.judging().as_drawn().reward.sum(1).mean().item())
    assert ("parity_logit_gap", "production") in names
    gate = set(log.judging().shown.decisions["user_id"].to_pylist())
    assert {user.user_id for user in record.users} == gate and 5 < len(gate) <= USERS
    page = _page(Attempt(log.settings, "refresh_policy", [HOUR], inputs={"items": tables["items"]}), record, own)
    assert f"Slates of {len(gate)} users" in page and "Production is r000001" in page
    assert all(f"<h2>{user}" in page for user in gate) and _page(Attempt(log.settings, "refresh_policy", [HOUR]), None, own) is None


def test_a_users_next_slate_within_the_session_follows():
    user, hour = np.array([1, 2, 1, 1, 2]), np.array([10, 10, 12, 30, 9])
    assert following(user, hour, session_h=6).tolist() == [2, -1, -1, -1, 1]
    assert following(user, hour, session_h=18).tolist() == [2, -1, 3, -1, 1]
    assert following(user[:0], hour[:0], session_h=6).tolist() == []


def test_the_temperature_is_taken_at_once_where_nothing_serves_and_within_the_limits_where_something_does(with_policy, log):
    settings = with_policy(learner="softmax")
    own = lineage(settings, HOUR)
    before = own.policy.temperature
    assert refreshed(None, own, 0.1)[0].temperature == pytest.approx(before), "nothing was shown that could judge it"
    policy, report, _ = refreshed(log, own, before / 4)
    assert before / 4 <= policy.temperature < before and 0 < report.kl_mean <= settings.policy.kl_limit
    first = dataclasses.replace(own, champion=None)
    assert refreshed(None, first, 0.1)[0].temperature == pytest.approx(0.1)


def test_the_observed_return_of_a_session_is_that_of_the_users_slates_in_a_row(log):
    random, count = np.random.default_rng(4), len(log.slates)
    users = [f"u{n}" for n in random.integers(0, 12, count)]
    hours = [shift(HOUR, int(n)) for n in random.permutation(count)]
    decisions = log.slates.decisions
    for name, values in (("user_id", users), ("hour", hours)):
        decisions = decisions.set_column(decisions.column_names.index(name), name, pa.array(values))
    reward = random.random(log.slates.reward.shape).astype(np.float32)
    slates = dataclasses.replace(log.slates, decisions=decisions, reward=reward)
    worth, policy, returns, last, place = (reward * slates.shown).sum(1), log.settings.policy, [], None, 0
    for user, hour, n in sorted((user, hour_number(hour), n) for n, (user, hour) in enumerate(zip(users, hours, strict=True))):
        goes_on = last is not None and last[0] == user and hour - last[1] <= policy.session_h
        place = place + 1 if goes_on else 0
        if not goes_on:
            returns.append(0.0)
        returns[-1] += policy.discount**place * worth[n]
        last = (user, hour)
    (found,) = session_return(dataclasses.replace(log, slates=slates))
    assert found.n == len(returns) < count and found.value == pytest.approx(np.mean(returns))
    assert found.low < found.value < found.high
