"""What ends a challenger's time in staging: each ending by hand, and the shipped rules over many null and planted challengers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.sequential import HourlyArms
from pipelines.errors import UserError
from pipelines.registry.gates import POLICY_FILE
from pipelines.registry.staging import Evidence, StagingRule, decide_staging, load_rules, power_sentence

RULE = StagingRule(
    share=0.5, alpha=0.05, budget=False, planned=1000, bound=0.0, least_hours=2, least_users=500, harm=-0.3, ratio_p=0.001, futile_h=24,
    rest_h=0,
)  # fmt: skip


def evidence(*hours, age=None):
    """Of (champion, challenger) pairs of (count, mean, variance)."""
    array = np.array(hours, dtype=float).reshape(len(hours), 2, 3)
    return Evidence([f"h{n}" for n in range(len(hours))], HourlyArms(*np.moveaxis(array, 2, 0)), age or len(hours))


def alike(lift, count=400, hours=3, **values):
    return evidence(*[[(count, 2.0, 2.25), (count, 2.0 * (1 + lift), 2.25)]] * hours, **values)


def outcomes(decision):
    return {figure.gate: figure.outcome for figure in decision.figures}


def test_a_better_challenger_wins_once_it_was_shown_long_enough_to_enough_users():
    decision = decide_staging(alike(0.3), RULE)
    assert decision.ending == "won" and decision.lift.mean == pytest.approx(0.3) and decision.lift.low > 0
    assert decision.reason.startswith("is better: +30.0% [+") and "by 1,200 users' hours an arm in 3 hours" in decision.reason
    assert set(outcomes(decision).values()) == {"pass"}
    assert decide_staging(alike(0.3, hours=1), RULE).ending is None, "one hour"
    assert decide_staging(alike(0.6, count=200, hours=2), RULE).ending is None, "400 users an arm"
    assert decide_staging(alike(0.3), replace(RULE, bound=0.25)).ending is None, "its interval does not lie above the bound"


def test_what_is_known_to_be_worse_ends_at_once_and_what_is_far_worse_before_it_is_known():
    worse = decide_staging(alike(-0.2), RULE)
    assert worse.ending == "lost" and worse.reason.startswith("is worse than +0%: -20.0%") and outcomes(worse)["value in staging"] == "fail"
    varied = [(250, 2.0, 900.0), (250, 1.2, 900.0)]
    far = decide_staging(evidence(varied, varied), RULE)
    assert far.ending == "lost" and far.lift.high > 0 and "is far worse: -40.0%" in far.reason and "the stop lies at -30%" in far.reason
    assert decide_staging(evidence(varied), RULE).ending is None, "250 users are no reason to stop"


def test_an_undecided_one_ends_when_its_time_is_over():
    assert decide_staging(alike(0.01, age=23), RULE).ending is None
    late = decide_staging(alike(0.01, age=24), RULE)
    assert late.ending == "futile" and late.reason.startswith("ended undecided after 24 hours: +1.0%")
    nobody = decide_staging(evidence(age=30), RULE)
    assert nobody.ending == "futile" and not nobody.measured and "nobody of both arms was shown anything yet" in nobody.reason


def reactions(lift, rate=0.1, count=400, hours=3, sign=1.0):
    return alike(0, count, hours).arms.__class__(
        np.full((hours, 2), float(count)), np.tile([sign * rate, sign * rate * (1 + lift)], (hours, 1)), np.full((hours, 2), rate)
    )


@pytest.mark.parametrize(("lift", "sign", "outcome"), [
    (-0.05, 1, "pass"), (0.05, -1, "pass"),  # within a tenth
    (-0.25, 1, "pass"),  # 3 standard errors are 39 % of production's rate
    (-0.45, 1, "abstain"), (0.45, -1, "abstain"), (-0.99, 1, "fail"), (0.99, -1, "fail"),
])  # fmt: skip
def test_one_reaction_that_is_less_holds_a_challenger_back_and_ends_it_once_that_is_known(lift, sign, outcome):
    """The reward rises by 30 %; purchases, or with sign -1 what people hide, change by ``lift``; 1,200 users' hours an arm."""
    found = replace(alike(0.3), tasks={"purchase": reactions(lift, sign=sign)})
    decision = decide_staging(found, RULE)
    assert outcomes(decision)["purchase in staging"] == outcome
    assert decision.ending == {"pass": "won", "abstain": None, "fail": "lost"}[outcome]
    assert ("purchase in staging" in decision.reason) is (outcome != "pass")


def test_a_reaction_that_production_never_saw_guards_nothing():
    assert decide_staging(replace(alike(0.3), tasks={"share": reactions(0.0, rate=0.0)}), RULE).ending == "won"


def test_arms_that_are_not_as_drawn_decide_nothing():
    lost = decide_staging(evidence(*[[(400, 2.0, 2.25), (300, 3.0, 2.25)]] * 3), RULE)
    assert lost.ending == "invalid" and "1,200 and 900 users' hours" in lost.reason and outcomes(lost)["sample ratio"] == "fail"


def test_later_challengers_of_a_shared_budget_need_more():
    shared, found = replace(RULE, budget=True), alike(0.12, count=500)
    assert decide_staging(found, RULE).ending == "won"
    assert decide_staging(found, shared, 1).ending == "won" and decide_staging(found, shared, 20).ending is None
    widths = [decide_staging(found, shared, number).lift.high for number in (1, 2, 20)]
    assert widths == sorted(widths)


def test_power_is_said_in_hours_of_the_users_there_are():
    said = power_sentence(alike(0.0, count=100, hours=10), RULE, 1)
    assert "a lift of 5% is told from none within" in said and said.endswith("hours of the last users")
    users, hours = said.split(" within ")[1].split(" users' hours, 8 times of 10: ")
    assert float(users.replace(",", "")) / 200 == pytest.approx(float(hours.split(" hours")[0]), abs=0.1)
    assert "not known" in power_sentence(evidence(), RULE, 1)


WRONG = ["share: 0.5|share: 1.5", "least_hours: 2|least_hour: 2", "futile_h: 24|futile_h: 1", "staging:\n  trial|stages:\n  trial"]


@pytest.mark.parametrize("change", WRONG)
def test_rules_that_cannot_judge_are_refused(tmp_path, change):
    found, wrong = change.split("|")
    text = POLICY_FILE.read_text()
    assert found in text
    path = tmp_path / "promotion.yaml"
    path.write_text(text.replace(found, wrong))
    with pytest.raises(UserError, match="expect"):
        load_rules(path)


def challengers(random, rule, lift, users, hours, many=200, deviation=1.1):
    """How each of many challengers ends, whose users' rewards vary as much as ``deviation`` times their mean."""
    found = []
    for _ in range(many):
        challenger = random.binomial(users, rule.share, hours)
        count = np.stack([users - challenger, challenger], axis=1).astype(float)
        mean = np.array([1.0, 1.0 + lift]) + deviation * random.standard_normal((hours, 2)) / np.sqrt(count)
        variance = deviation**2 * random.chisquare(count - 1) / (count - 1)
        for hour in range(1, hours + 1):
            part = HourlyArms(count[:hour], mean[:hour], variance[:hour])
            decision = decide_staging(Evidence([str(n) for n in range(hour)], part, hour), rule)
            if decision.ending:
                break
        found.append((decision.ending, hour))
    return found


def test_a_change_without_gain_passes_in_at_most_five_of_a_hundred_lineages_and_one_of_five_percent_in_eighty():
    random, rule = np.random.default_rng(11), load_rules()["change"]
    null = [ending for ending, _ in challengers(random, rule, 0.0, users=1_000, hours=168)]
    assert null.count("won") <= 0.05 * len(null) and null.count("futile") >= 0.9 * len(null)
    better = [ending for ending, _ in challengers(random, rule, 0.05, users=1_000, hours=168)]
    assert better.count("won") >= 0.8 * len(better)


def test_a_trial_of_what_is_no_better_passes_in_at_most_one_of_a_hundred_hours():
    random, rule = np.random.default_rng(12), load_rules()["trial"]
    null = challengers(random, rule, 0.0, users=2_000, hours=24)
    assert [ending for ending, _ in null].count("won") <= 0.01 * sum(hours for _, hours in null)
    assert [ending for ending, _ in null].count("won") <= 0.03 * len(null)
    far = challengers(random, rule, 0.35, users=2_000, hours=24)
    assert {ending for ending, _ in far} == {"won"} and np.median([hours for _, hours in far]) == rule.least_hours


def test_the_shipped_rules_are_whole():
    rules = load_rules()
    assert set(rules) == {"trial", "change", "same", "guard"} and all(math.isfinite(rule.share) for rule in rules.values())
    assert rules["change"].least_hours >= 48 and rules["change"].least_users >= 10_000
