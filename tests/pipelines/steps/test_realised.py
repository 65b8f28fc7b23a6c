"""A release of a day ago, by what it drew itself: no lift over its equal, a lift over one that is worse, nothing where none can be told."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from models.artifacts import load_policy, save_policy
from pipelines.hours import shift
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.registry.gates import Figure
from pipelines.registry.releases import append_decision, release_folder
from pipelines.steps.realised import PROMISED, REALISED, realised

BEFORE = "r000000"
PROMISE = Figure("policy value", "pass", 0.02, -0.01, 0.05, -0.01, 1400)


@pytest.fixture
def day_later(settings, log, champion):
    """The log as of a day after the champion's first hour; the release before it has its models."""
    shutil.copytree(release_folder(settings, champion.release_id), release_folder(settings, BEFORE))
    earlier = replace(champion, release_id=BEFORE, since=shift(champion.since, -1))
    append_decision(settings, earlier, None)

    def decide(**values):
        row = replace(champion, compared_with=BEFORE, **{"gates": (PROMISE,)} | values)
        append_decision(settings, row, BEFORE)
        return replace(log, hour=shift(champion.since, 24))

    return decide


def by_name(found):
    return {metric.name: metric for metric in found}


def test_over_its_equal_it_brought_nothing_whatever_was_promised(day_later):
    found = by_name(realised(day_later(), "made-up"))
    assert (found[PROMISED].value, found[PROMISED].low, found[PROMISED].high, found[PROMISED].n) == (0.02, -0.01, 0.05, 1400)
    assert found[REALISED].value == pytest.approx(0.0, abs=1e-9) and found[REALISED].model_version == "1"


def test_over_one_that_shows_less_of_what_earns_it_brought_something(day_later, settings):
    """People react to the three best of the release's candidates; the one before it draws more at random."""
    log = day_later()
    folder = release_folder(settings, BEFORE) / "policy"
    policy = load_policy(folder)
    policy.set_temperature(1.4 * policy.temperature)
    save_policy(policy, folder)
    decisions = log.slates.decisions
    logits, actions = decisions["logits"].to_pylist(), decisions["action"].to_pylist()
    best = np.array([[float(np.argsort(np.argsort(own))[index] >= len(own) - 3) for index in action] for own, action in
                     zip(logits, actions, strict=True)], dtype=np.float32)  # fmt: skip
    found = by_name(realised(replace(log, slates=replace(log.slates, reward=best)), "made-up"))
    assert 0.0 < found[REALISED].low < found[REALISED].value < 0.5 and found[REALISED].n > 20


def test_where_models_are_gone_or_read_other_vectors_or_nothing_began_then_it_says_nothing(day_later, settings):
    log = day_later()
    assert realised(log, "another") == []
    assert realised(replace(log, hour=shift(log.hour, 1)), "made-up") == []
    shutil.rmtree(release_folder(settings, BEFORE))
    assert realised(log, "made-up") == []


def test_what_a_winner_brought_is_what_its_guard_found(day_later, settings):
    won = Figure("value in staging", "pass", 0.31, 0.21, 0.41, 0.0, 1200)
    log = day_later(lineage="trial-x", kind="trial", gates=(won,))
    assert realised(log, "made-up") == [], "no guard has looked yet"
    guard = [Metric("guard_lift", lineage, lift, lift - 0.1, lift + 0.1, 900) for lineage, lift in (("trial-x", 0.11), ("trial-y", 0.5))]
    write_metrics(settings, shift(log.hour, -1), guard)
    assert {name: metric.value for name, metric in by_name(realised(log, "made-up")).items()} == {PROMISED: 0.31, REALISED: 0.11}
