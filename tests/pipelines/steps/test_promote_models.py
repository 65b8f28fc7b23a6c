"""The decision out of gate figures: which subject is judged, and what a missing figure does."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import end_of, shift
from pipelines.lake.ledger import LedgerRow, write_rows
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.registry.release_files import install
from pipelines.registry.releases import ReleaseRow, append_decision, release_folder
from pipelines.steps.candidates import candidate_folder, note_champion
from pipelines.steps.promote_models import _judged, _models

START = "2026-11-10T08"
HOUR = shift(START, 24)
RANKER = {
    "finite": (1.0, 1.0, 1.0, 1),
    "auc_per_user_difference": (0.01, 0.005, 0.015, 90_000),
    "auc_per_user_difference_hour": (0.01, -0.01, 0.03, 4_000),
    "normalized_entropy_ratio": (-0.01, -0.02, -0.001, 90_000),
    "calibration_slope": (1.0, 1.0, 1.0, 90_000),
}
POLICY = {
    "policy_value_ratio": (0.03, 0.01, 0.05, 1_500),
    "slate_entropy_ratio": (0.95, 0.95, 0.95, 2_000),
    "exposure_ratio": (1.0, 1.0, 1.0, 2_000),
    "mass_outside_support": (0.03, 0.02, 0.04, 256),
}


@pytest.fixture
def champion(settings):
    versions = {"encoder": "1", "ranker": "1", "policy": "1"}
    row = ReleaseRow("r000001", START, versions, "bootstrap", "production", "promote_models", START, end_of(START))
    append_decision(settings, row, None)
    note_champion(settings, HOUR, row.release_id)
    return row


@pytest.fixture
def judged(settings, champion):
    def answer(both=None, ranker_only=None, **ranker):
        subjects = {"ranker": RANKER | ranker, "both": POLICY | (both or {}), "ranker only": POLICY | (ranker_only or {})}
        named = [(subject, name, found) for subject, figures in subjects.items() for name, found in figures.items() if found]
        rows = [Metric(f"gate_{name}", subject, *found) for subject, name, found in named]
        write_metrics(settings, HOUR, rows)
        decision, with_policy = _judged(settings, HOUR, champion)
        return decision.verdict, with_policy, " ".join(decision.reasons)

    return answer


def test_all_good_promotes_ranker_and_policy(judged):
    assert judged()[:2] == ("promote", True)


def test_what_the_log_could_not_have_shown_is_no_reason_to_reject(judged):
    outside = {"mass_outside_support": (0.2, 0.18, 0.22, 256)}
    verdict, _, reasons = judged(both=outside, ranker_only=outside)
    assert verdict == "abstain" and "outside the log's support: 0.1800, wanted below 0.05" in reasons


def test_a_policy_that_does_not_pass_is_left_out_where_the_ranker_passes_alone(judged):
    assert judged(both={"policy_value_ratio": (-0.05, -0.09, -0.01, 1_500)})[:2] == ("promote", False)
    assert judged(both={"policy_value_ratio": (0.05, 0.01, 0.09, 900)})[:2] == ("promote", False)


def test_one_failed_gate_rejects_and_is_named_with_its_figure(judged):
    verdict, _, reasons = judged(calibration_slope=(0.85, 0.85, 0.85, 90_000))
    assert verdict == "reject" and "calibration slope: 0.8500" in reasons


def test_too_little_evidence_abstains_and_says_how_much_there_is(judged):
    few = {"policy_value_ratio": (0.03, 0.01, 0.05, 999)}
    verdict, _, reasons = judged(both=few, ranker_only=few)
    assert verdict == "abstain" and "999" in reasons and "1000" in reasons


def test_a_figure_that_was_not_measured_abstains(judged):
    verdict, _, reasons = judged(both={"policy_value_ratio": None}, ranker_only={"policy_value_ratio": None})
    assert verdict == "abstain" and "policy value: not measured" in reasons


def test_a_failure_outweighs_missing_evidence(judged):
    few = {"policy_value_ratio": (0.03, 0.01, 0.05, 10)}
    assert judged(both=few, ranker_only=few, finite=(0.0, 0.0, 0.0, 1))[0] == "reject"


@pytest.fixture
def retrained(settings):
    """A full retrain of an earlier hour, and what the lineage had over it."""

    def write(hour, value, low, high, n):
        now = wall_clock()
        write_metrics(settings, hour, [Metric("forgetting_reservoir", "ranker", value, low, high, n, "gate fold")])
        write_rows(settings, [LedgerRow(hour, "retrain_ranker", "done", "test", now, now)])

    return write


def test_a_lineage_that_is_shown_to_have_forgotten_is_rejected_until_it_goes_on_from_a_retrain(settings, judged, retrained):
    retrained(shift(HOUR, -5), -0.010, -0.014, -0.006, 90_000)
    verdict, _, reasons = judged()
    assert verdict == "reject" and "forgetting, 30 days: -0.0060, wanted above -0.003" in reasons
    now = wall_clock()
    write_rows(settings, [LedgerRow(shift(HOUR, -3), "adopt_retrain", "done", "test", now, now)])
    assert judged()[0] == "promote"


def test_a_newer_retrain_stands_in_place_of_the_older_and_a_later_one_says_nothing_yet(judged, retrained):
    retrained(shift(HOUR, -5), -0.010, -0.014, -0.006, 90_000)
    retrained(shift(HOUR, -1), -0.001, -0.004, 0.002, 90_000)
    retrained(shift(HOUR, 1), -0.010, -0.014, -0.006, 90_000)
    assert judged()[0] == "promote"


def test_without_production_there_is_nothing_to_compare_with(settings):
    assert _judged(settings, START, None)[0].verdict == "promote"


def test_a_model_of_no_numbers_becomes_no_release_even_where_nothing_judges_it(settings, save_release):
    own = candidate_folder(settings, START)
    save_release(own, text_dim=6)
    weights = load_file(own / "ranker" / "model.safetensors")
    save_file({name: weight * torch.nan for name, weight in weights.items()}, own / "ranker" / "model.safetensors")
    with pytest.raises(UserError, match=r"release r000001, ranker: .* are not finite; expected a model that scoring can load"):
        install(release_folder(settings, "r000001"), _models(settings, START, None, True), "r000001")
    assert not release_folder(settings, "r000001").exists()
