import math
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.registry.gates import Gate, Measured, bound_of, decide_promotion, gate_named, load_gates, shown_worse, sliced

BETTER = Gate("AUC", "auc", "low", -0.003, 1000)
CHEAPER = Gate("entropy", "entropy", "high", 0.005, 1000)
ROW = "{name: a, figure: a, side: low, bound: 0, least_n: 1}"
WITHIN = Gate("slope", "slope", "value", 0.9, 1000, upper=1.1)
AROUND = Gate("slope", "slope", "reach", 0.9, 1000, upper=1.1)
GATES = [BETTER, CHEAPER, WITHIN]
GOOD = {
    "auc": Measured(0.001, -0.002, 0.004, 2000),
    "entropy": Measured(0.001, -0.001, 0.004, 2000),
    "slope": Measured(1.0, 1.0, 1.0, 2000),
}


def test_every_gate_passed_promotes():
    decision = decide_promotion(GOOD, GATES)
    assert (decision.verdict, decision.reasons) == ("promote", ("all 3 gates passed",))
    assert [(figure.gate, figure.outcome, figure.bound, figure.n) for figure in decision.figures] == [
        ("AUC", "pass", -0.003, 2000), ("entropy", "pass", 0.005, 2000), ("slope", "pass", 0.9, 2000),
    ]  # fmt: skip


def test_a_failed_gate_rejects_and_says_by_how_much():
    decision = decide_promotion(GOOD | {"auc": Measured(-0.001, -0.0062, 0.0042, 2000)}, GATES)
    assert decision.verdict == "reject"
    assert decision.reasons == ("AUC: -0.0062, wanted above -0.003 (-0.0010 [-0.0062, 0.0042], n=2000)",)


def test_each_side_looks_at_its_own_end_of_the_interval():
    wide = {"auc": Measured(0.0, -0.5, 0.5, 2000), "entropy": Measured(0.0, -0.5, 0.5, 2000), "slope": Measured(1.2, 1.0, 1.4, 2000)}
    decision = decide_promotion(wide, GATES)
    assert [figure.outcome for figure in decision.figures] == ["fail", "fail", "fail"]
    assert decision.reasons == (
        "AUC: -0.5000, wanted above -0.003 (0.0000 [-0.5000, 0.5000], n=2000)",
        "entropy: 0.5000, wanted below 0.005 (0.0000 [-0.5000, 0.5000], n=2000)",
        "slope: 1.2000, wanted from 0.9 to 1.1 (1.2000 [1.0000, 1.4000], n=2000)",
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Measured(1.25, 1.15, 1.35, 2000), "1.1500, wanted above 0.9 and below 1.1 (1.2500 [1.1500, 1.3500], n=2000)"),
        (Measured(0.75, 0.65, 0.85, 2000), "0.8500, wanted above 0.9 and below 1.1 (0.7500 [0.6500, 0.8500], n=2000)"),
    ],
)
def test_an_interval_beside_its_range_says_which_end_did_not_reach_it(found, said):
    assert decide_promotion({"slope": found}, [AROUND]).reasons == (f"slope: {said}",)


@pytest.mark.parametrize(
    ("gate", "found", "outcome"),
    [
        (BETTER, Measured(0.0, -0.003, 0.1, 2000), "fail"),
        (CHEAPER, Measured(0.0, -0.1, 0.005, 2000), "fail"),
        (WITHIN, Measured(1.1, 1.1, 1.1, 2000), "pass"),
        (WITHIN, Measured(0.9, 0.9, 0.9, 2000), "pass"),
        (AROUND, Measured(1.2, 1.09, 1.31, 2000), "pass"),
        (AROUND, Measured(1.2, 1.1, 1.3, 2000), "fail"),
        (AROUND, Measured(0.85, 0.79, 0.91, 2000), "pass"),
        (AROUND, Measured(0.85, 0.8, 0.9, 2000), "fail"),
        (Gate("floor", "slope", "value", 0.7, 1000), Measured(99.0, 99.0, 99.0, 2000), "pass"),
        (BETTER, Measured(0.1, 0.1, 0.1, 1000), "pass"),
        (BETTER, Measured(0.1, 0.1, 0.1, 999), "abstain"),
    ],
)
def test_bounds_at_the_edge(gate, found, outcome):
    assert decide_promotion({gate.figure: found}, [gate]).figures[0].outcome == outcome


KEPT = Gate("forgetting", "kept", "reach", -0.003, 1000, guard=True)


@pytest.mark.parametrize(
    ("found", "outcome", "verdict"),
    [
        (Measured(-0.008, -0.012, -0.0031, 2000), "fail", "reject"),
        (Measured(-0.008, -0.020, 0.0040, 2000), "pass", "promote"),
        (Measured(-0.008, -0.012, -0.0030, 2000), "fail", "reject"),
        (Measured(0.001, -0.001, 0.003, 2000), "pass", "promote"),
        (Measured(-0.5, -0.6, -0.4, 999), "abstain", "promote"),
        (Measured(math.nan, math.nan, math.nan, 2000), "fail", "reject"),
    ],
)
def test_a_guard_fails_only_what_is_shown_and_stops_nothing_for_lack_of_evidence(found, outcome, verdict):
    decision = decide_promotion(GOOD | {"kept": found}, [*GATES, KEPT])
    assert (decision.figures[-1].outcome, decision.verdict) == (outcome, verdict)


def test_a_guard_that_nobody_measured_is_as_if_it_were_not_there():
    assert decide_promotion(GOOD, [*GATES, KEPT]) == decide_promotion(GOOD, GATES)
    few = GOOD | {"auc": Measured(0.1, 0.1, 0.1, 9)}
    assert decide_promotion(few, [KEPT, *GATES]) == decide_promotion(few, GATES)


@pytest.mark.parametrize("gate", GATES)
def test_what_is_not_a_number_never_passes(gate):
    decision = decide_promotion({gate.figure: Measured(math.nan, math.nan, math.nan, 2000)}, [gate])
    assert decision.verdict == "reject" and "nan" in decision.reasons[0]


def test_too_little_evidence_abstains_however_bad_it_looks():
    decision = decide_promotion(GOOD | {"auc": Measured(-0.9, -0.95, -0.8, 7)}, GATES)
    assert (decision.verdict, decision.reasons) == ("abstain", ("AUC: n=7, at least 1000 needed",))


def test_a_figure_that_nobody_measured_abstains():
    decision = decide_promotion({name: found for name, found in GOOD.items() if name != "slope"}, GATES)
    assert (decision.verdict, decision.reasons) == ("abstain", ("slope: not measured",))
    assert (decision.figures[2].value, decision.figures[2].n) == (None, 0)


def test_a_failure_outweighs_missing_evidence():
    decision = decide_promotion({"entropy": Measured(0.02, 0.01, 0.03, 2000)}, GATES)
    assert decision.verdict == "reject" and len(decision.reasons) == 1 and decision.reasons[0].startswith("entropy: 0.0300")


@pytest.mark.parametrize(("figure", "found", "worse"), [
    ("auc", Measured(-0.001, -0.02, 0.018, 2000), False),  # as good, for all that is known
    ("auc", Measured(-0.02, -0.04, -0.0031, 2000), True),
    ("auc", Measured(-0.02, -0.04, -0.0029, 2000), False),
    ("entropy", Measured(0.02, 0.004, 0.04, 2000), False),
    ("entropy", Measured(0.02, 0.0051, 0.04, 2000), True),
    ("slope", Measured(1.2, 1.0, 1.4, 2000), True),  # a value has no interval to hide in
])  # fmt: skip
def test_worse_is_what_the_whole_interval_says(figure, found, worse):
    decision = decide_promotion(GOOD | {figure: found}, GATES)
    assert decision.verdict == "reject" and shown_worse(decision.figures, GATES) is worse


def test_a_gate_of_slices_is_asked_of_each_that_was_measured_and_named_after_it():
    by_slice = Gate("AUC of {slice}", "auc", "reach", -0.01, 1000, guard=True, slice="cold *")
    worse, few = Measured(-0.05, -0.08, -0.02, 2000), Measured(-0.05, -0.08, -0.02, 20)
    found = GOOD | {sliced("auc", "cold users"): few, sliced("auc", "cold items"): worse, sliced("auc", "warm items"): worse}
    decision = decide_promotion(found, [*GATES, by_slice])
    outcomes = {figure.gate: figure.outcome for figure in decision.figures[3:]}
    assert outcomes == {"AUC of cold items": "fail", "AUC of cold users": "abstain"}
    assert decision.reasons == ("AUC of cold items: -0.0200, wanted above -0.01 (-0.0500 [-0.0800, -0.0200], n=2000)",)
    assert gate_named("AUC of cold items", [*GATES, by_slice]) is by_slice and gate_named("AUC of", [by_slice]) is None
    assert shown_worse(decision.figures, [*GATES, by_slice])
    assert decide_promotion(GOOD, [*GATES, by_slice]).verdict == "promote"


def test_an_upper_end_that_only_what_is_shown_passes():
    gate = Gate("entropy", "entropy", "reach_below", 0.02, 1000)
    assert decide_promotion({"entropy": Measured(0.03, 0.019, 0.05, 2000)}, [gate]).verdict == "promote"
    decision = decide_promotion({"entropy": Measured(0.03, 0.021, 0.05, 2000)}, [gate])
    assert decision.reasons == ("entropy: 0.0210, wanted below 0.02 (0.0300 [0.0210, 0.0500], n=2000)",)


def test_beyond_its_bound_a_gate_that_abstains_says_nothing_and_fails_nothing():
    gate = Gate("support", "outside", "reach_below", 0.05, 100, abstains=True)
    assert decide_promotion({"outside": Measured(0.06, 0.04, 0.08, 256)}, [gate]).verdict == "promote"
    decision = decide_promotion({"outside": Measured(0.14, 0.12, 0.16, 256)}, [gate])
    assert (decision.verdict, decision.figures[0].outcome) == ("abstain", "abstain")
    assert decision.reasons == ("support: 0.1200, wanted below 0.05 (0.1400 [0.1200, 0.1600], n=256)",)
    few = decide_promotion({"outside": Measured(0.0, 0.0, 0.0, 20)}, [gate])
    assert few.reasons == ("support: n=20, at least 100 needed",)


@pytest.mark.parametrize("row", [ROW.replace("name: a", "name: '{slice}'"), ROW.replace("}", ", slice: '*'}")])
def test_a_gate_of_slices_says_so_in_its_name(tmp_path, row):
    path = tmp_path / "promotion.yaml"
    path.write_text(f"gates: {{refresh: [{row}]}}")
    with pytest.raises(UserError, match=r"expected \{slice\} in the names of gates that have a `slice:`"):
        load_gates("refresh", path)


def test_what_a_person_rejected_or_a_gate_of_another_time_is_worse():
    assert shown_worse(decide_promotion(GOOD, GATES).figures, GATES), "no gate failed: somebody rejected it"
    decision = decide_promotion(GOOD | {"auc": Measured(-0.001, -0.02, 0.018, 2000)}, GATES)
    assert shown_worse(decision.figures, [CHEAPER, WITHIN])


def test_the_bound_of_a_figure_is_the_shipped_gates():
    assert bound_of("refresh", "policy_value_ratio") == -0.01 and bound_of("refresh", "calibration_slope") == -math.inf


def test_the_shipped_policy_judges_a_refresh_and_asks_for_evidence():
    gates = load_gates("refresh")
    assert {gate.figure for gate in gates} >= {"auc_per_user_difference", "normalized_entropy_ratio", "policy_value_ratio"}
    assert decide_promotion({}, gates).verdict == "abstain"
    by_figure = {gate.figure: gate for gate in gates if gate.slice is None}
    assert (by_figure["auc_per_user_difference"].side, by_figure["auc_per_user_difference"].bound) == ("low", -0.003)
    assert (by_figure["policy_value_ratio"].bound, by_figure["policy_value_ratio"].least_n) == (-0.01, 1000)
    guards = {gate.figure: (gate.side, gate.bound) for gate in gates if gate.guard}
    slices = {"auc_per_user_difference": ("reach", -0.01), "normalized_entropy_ratio": ("reach_below", 0.02)}
    assert guards == dict.fromkeys(("forgetting_fresh", "forgetting_reservoir"), ("reach", -0.003)) | slices


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("gates: {refresh: []}", "no gate at all"),
        ("gates: {refresh: [{name: a, figure: a, side: lo, bound: 0, least_n: 1}]}", r"unknown sides \['lo'\]"),
        ("gates: {refresh: [{name: a, figure: a, side: low, bond: 0, least_n: 1}]}", "no gates for 'refresh'.*bond"),
        ("gates: {change: []}", "no gates for 'refresh'"),
        ("gates: [", "no gates for 'refresh'"),
        ("", "no gates for 'refresh'"),
        (f"gates: {{refresh: [{ROW}, {ROW}]}}", "two gates of one name"),
    ],
)
def test_a_policy_that_cannot_judge_is_an_error_of_one_line(tmp_path: Path, text, found):
    path = tmp_path / "promotion.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=found) as error:
        load_gates("refresh", path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
