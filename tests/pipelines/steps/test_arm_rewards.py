"""Rewards by arm and hour, out of tables written row by row: sums worked by hand."""

from datetime import timedelta

import pytest

from pipelines.hours import parse_hour, shift
from pipelines.lake.holds import hold
from pipelines.settings import load_settings
from pipelines.steps.arm_rewards import read_evidence, read_lately

START = "2026-11-10T08"
DRAWN = [shift(START, n) for n in range(3)]  # shown an hour later
TRIAL, OTHER = ["r000003", "r000005"], "r000001"


@pytest.fixture
def drawn(write):
    """Slates as (user, hour of the draw, arm, share, release, source)."""

    def rows(*slates):
        about = {
            "surface": "home", "candidates": [], "logits": [], "action": [], "propensities": [], "scores": [], "user_vector": [],
            "candidate_features": [], "temperature": 0.2, "rules": "", "seed": 7, "feature_versions": [],
            "versions": {"encoder": "1", "ranker": "1", "policy": "1"},
        }  # fmt: skip
        named = ("user_id", "hour", "arm", "arm_share", "release_id", "source")
        return write(
            "slate_decisions", [about | dict(zip(named, slate, strict=True)) | {"slate_id": f"{slate[0]}-{slate[1]}"} for slate in slates]
        )

    return rows


@pytest.fixture
def shown(write):
    """Examples as (user, hour of the draw, position, revision, reward, labels): seen in the hour after the draw."""

    def rows(*examples):
        values = []
        for number, (user, hour, position, revision, reward, *labels) in enumerate(examples):
            at = parse_hour(shift(hour, 1)) + timedelta(minutes=number % 60)
            values.append({
                "example_id": f"{user}-{hour}-{position}", "revision": revision, "user_id": user, "item_id": "i", "ts": at, "known_at": at,
                "position": position, "labels": labels[0] if labels else {}, "reward": reward, "reward_version": "v",
                "user": {"recent": []}, "item": {}, "slate_id": f"{user}-{hour}", "hour": shift(hour, 1),
            })  # fmt: skip
        return write("training_examples", values)

    return rows


def both_arms(hour, count=4):
    champion = [(f"c{n}", hour, "production", 0.5, OTHER, "policy") for n in range(count)]
    return champion + [(f"n{n}", hour, "challenger", 0.5, TRIAL[0], "policy") for n in range(count)]


def read(settings, versions, until=3, releases=TRIAL, arms=("production", "challenger")):
    return read_evidence(settings, START, shift(START, until), versions, arms, releases)


def test_a_users_hour_is_the_sum_of_its_slate_by_the_last_revisions(settings, drawn, shown):
    decisions = drawn(*both_arms(START, 2))
    examples = shown(
        ("c0", START, 0, 0, 0.2), ("c0", START, 1, 0, 0.0), ("c0", START, 1, 1, 0.5), ("c1", START, 0, 0, 0.0),
        ("n0", START, 0, 0, 1.0), ("n1", START, 0, 0, 0.4),
    )  # fmt: skip
    found = read(settings, {"training_examples": examples, "slate_decisions": decisions})
    assert found.hours == [START] and found.age_h == 3 and found.users == 2
    assert found.arms.count.tolist() == [[2, 2]]
    capped = 0.7 + 0.985 * 0.3  # the 99.5th percentile of 0, 0.4, 0.7 and 1.0
    assert found.arms.mean[0] == pytest.approx([0.35, (capped + 0.4) / 2])
    assert found.arms.variance[0] == pytest.approx([0.7**2 / 2, (capped - 0.4) ** 2 / 2])


def test_reactions_are_summed_by_task_and_one_that_counts_against_is_less_than_none(settings, drawn, shown):
    social = load_settings(settings.home, {"RECLOOP__DOMAIN": "social"})
    versions = {"slate_decisions": drawn(*both_arms(START, 2)), "training_examples": shown(
        ("c0", START, 0, 0, 0.1, {"click": 1.0}), ("c0", START, 1, 0, 0.1, {"click": 1.0}), ("c1", START, 0, 0, 0.0),
        ("n0", START, 0, 0, 0.1, {"click": 1.0}), ("n0", START, 0, 1, -0.9, {"click": 1.0, "hide": 1.0}), ("n1", START, 0, 0, 0.0),
    )}  # fmt: skip
    found = read(social, versions).tasks
    assert {task: arms.mean.tolist() for task, arms in found.items() if arms.mean.any()} == {"click": [[1.0, 0.5]], "hide": [[0.0, -0.5]]}
    assert found["click"].variance.tolist() == [[2.0, 0.5]] and found["click"].count.tolist() == [[2, 2]]


def test_only_shown_slates_of_shared_hours_of_this_challenger_count(settings, drawn, shown):
    alone = [("c9", DRAWN[2], "production", 1.0, OTHER, "policy")]
    decisions = drawn(
        *both_arms(DRAWN[0]), *both_arms(DRAWN[1]), *alone,
        ("cold", DRAWN[0], "production", 0.5, OTHER, "cold_start"), ("unseen", DRAWN[0], "challenger", 0.5, TRIAL[1], "policy"),
    )  # fmt: skip
    seen = [(user, hour, 0, 0, 0.1) for user, hour, *_ in both_arms(DRAWN[0]) + both_arms(DRAWN[1])[:-1] + alone]
    examples = shown(*seen, ("cold", DRAWN[0], 0, 0, 5.0))
    versions = {"training_examples": examples, "slate_decisions": decisions}
    found = read(settings, versions)
    assert found.hours == DRAWN[:2] and found.arms.count.tolist() == [[4, 4], [4, 3]]
    assert read(settings, versions, releases=["r000009"]).hours == [], "another lineage's hours"
    assert read(settings, versions, until=1).hours == DRAWN[:1], "an hour that is not over yet is not looked at"
    everybody = read_lately(settings, START, shift(START, 3), versions)
    assert everybody.arms.count.tolist() == [[8, 0], [7, 0], [1, 0]], "all, for how rewards vary"


def test_a_third_arm_is_told_from_the_other_two(settings, drawn, shown):
    third = [(f"p{n}", START, "predecessor", 0.05, "r000002", "policy") for n in range(2)]
    slates = [*both_arms(START), *third]
    versions = {"slate_decisions": drawn(*slates), "training_examples": shown(*[(user, START, 0, 0, 0.1) for user, *_ in slates])}
    assert read(settings, versions).arms.count.tolist() == [[4, 4]]
    assert read(settings, versions, releases=["r000002"], arms=("predecessor", "production")).arms.count.tolist() == [[2, 4]]


def test_bots_and_poisoned_hours_are_left_out(settings, drawn, shown):
    decisions = drawn(*both_arms(DRAWN[0]), *both_arms(DRAWN[1]))
    seen = [(user, hour, 0, 0, 0.0) for user, hour, *_ in both_arms(DRAWN[0]) + both_arms(DRAWN[1])]
    farm = [("n0", DRAWN[0], place, 0, 1.0) for place in range(1, 60)]
    versions = {"training_examples": shown(*seen, *farm), "slate_decisions": decisions}
    assert read(settings, versions).arms.count.tolist() == [[4, 3], [4, 4]]
    hold(settings, "poison", DRAWN[1], "test")
    assert read(settings, versions).hours == [DRAWN[1]], "what DRAWN[0] drew was shown in the poisoned hour"
