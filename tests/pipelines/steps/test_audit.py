"""The propensity audit by arm: an arm whose logged propensities are not those of its draws is named, and the audit of all still decides."""

from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.steps.policy_judging import LOG, audit, audit_of_arms, holds


def with_arms(log, names, halved=None):
    """Every second slate in each arm; of one arm the logged propensities are halved."""
    decisions = log.slates.decisions
    arms = [names[number % len(names)] for number in range(len(decisions))]
    given = decisions["propensities"].to_pylist()
    wrong = [[chance / 2 for chance in own] if arm == halved else own for own, arm in zip(given, arms, strict=True)]
    for name, values in (("arm", pa.array(arms)), ("propensities", pa.array(wrong, decisions["propensities"].type))):
        decisions = decisions.set_column(decisions.column_names.index(name), name, values)
    return replace(log, slates=replace(log.slates, decisions=decisions))


def test_one_arm_is_audited_once(log):
    assert audit_of_arms(log) == [] and holds(audit(log.audited()))


def test_each_arm_is_audited_by_its_own_slates_and_the_wrong_one_shows(log):
    both = with_arms(log, ["challenger", "production"])
    found = {(metric.name, metric.subject): metric for metric in audit_of_arms(both)}
    counts = {subject: metric.n for (name, subject), metric in found.items() if name == "propensity_max_error"}
    assert counts == {"challenger": 30, "production": 30}
    assert all(metric.value < 1e-6 for (name, _), metric in found.items() if "error" in name)
    wrong = with_arms(log, ["challenger", "production"], halved="challenger")
    found = {(metric.name, metric.subject): metric.value for metric in audit_of_arms(wrong)}
    assert found["propensity_max_error", "challenger"] > 1e-3 > found["propensity_max_error", "production"]
    assert found["propensity_mean_weight", "challenger"] > 1.5
    assert found["propensity_mean_weight", "production"] == pytest.approx(1.0, abs=0.3)
    everything = [*audit(wrong.audited()), *audit_of_arms(wrong)]
    assert not holds(everything) and {metric.subject for metric in everything} == {LOG, "challenger", "production"}
    assert holds([*audit(both.audited()), *(metric for metric in everything if metric.subject != LOG)]), "arms alone bind nothing"
