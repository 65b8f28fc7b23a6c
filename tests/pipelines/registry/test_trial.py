"""The whole update on trial, from the hour that begins it to the one that ends it, through the release step and a real MLflow."""

import json
from dataclasses import asdict, replace

import pytest

from models.artifacts import load_ranker
from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.holds import hold
from pipelines.lake.metrics import read_metrics
from pipelines.registry.releases import (
    all_releases,
    challenger_before,
    decision_for,
    displaced_by,
    newest_production,
    production_before,
    release_folder,
)
from pipelines.registry.staging import load_rules
from pipelines.registry.versions import alias_versions, versions
from pipelines.steps import promote_models
from pipelines.steps.approval import answered, question
from pipelines.steps.candidates import base_hour, challenger_folder
from pipelines.steps.challengers import Challenger
from pipelines.steps.staging import prune_staging
from tests.pipelines.registry.made_up_loop import GATES, HOURS, USERS

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore")]


def same_weights(one, other):
    first, second = (load_ranker(folder / "ranker").state_dict() for folder in (one, other))
    return all(bool((first[name] == second[name]).all()) for name in first)


def test_a_better_whole_goes_from_the_trial_to_production(loop):
    settings = loop.settings
    outcome = loop.hour(1)
    decided, begun = loop.rows(1)
    assert (decided.kind, decided.stage, begun.kind, begun.stage) == ("refresh", "production", "trial", "staging")
    assert begun.lineage == f"trial-{HOURS[1]}" and begun.compared_with == "r000001" and (decided.since, begun.since) == (HOURS[2],) * 2
    assert "begins: the log could judge 20% of the whole update; 50% of the users are shown it; a lift of 5% is told" in begun.reasons[0]
    assert begun.release_id in outcome.detail and ledger.last_done(settings, "promote_models", HOURS[1]).challenger_id == begun.release_id
    assert same_weights(release_folder(settings, begun.release_id), challenger_folder(settings, HOURS[1]))
    assert alias_versions(settings, "staging")["ranker"] == begun.versions["ranker"] != alias_versions(settings, "production")["ranker"]
    assert {v.number: v.tags.get("lineage") for v in versions(settings, "ranker")}[begun.versions["ranker"]] == begun.lineage

    loop.hour(2, lift=0.4)
    decided, going = loop.rows(2)
    assert decided.stage == "production" and going.stage == "staging" and "nobody of both arms was shown anything yet" in going.reasons[0]
    loop.hour(3, lift=0.4)
    _, going = loop.rows(3)
    assert "goes on: +" in going.reasons[0] and "in 1 hour" in going.reasons[0]
    assert same_weights(release_folder(settings, going.release_id), challenger_folder(settings, HOURS[3])), "refreshed as production is"
    loop.hour(4, lift=0.4)
    (won,) = loop.rows(4)
    assert (won.kind, won.stage, won.lineage) == ("trial", "production", begun.lineage) and "is better: +" in won.reasons[0]
    assert decision_for(settings, HOURS[4]) == won and production_before(settings, HOURS[5]).release_id == won.release_id
    assert challenger_before(settings, HOURS[4]) is not None and challenger_before(settings, HOURS[5]) is None
    assert same_weights(release_folder(settings, won.release_id), challenger_folder(settings, HOURS[4]))
    assert alias_versions(settings, "production") == won.versions and alias_versions(settings, "staging") == {}
    lift = next(found for found in read_metrics(settings, HOURS[4], "staging_lift"))
    assert lift.subject == begun.lineage and 0 < lift.low < lift.value and lift.n == USERS
    assert base_hour(settings, HOURS[5]) == HOURS[4], "the lineage goes on"


def test_where_a_person_decides_a_winner_waits_and_its_evidence_is_told(loop):
    plain = loop.settings
    loop.settings = settings = plain.model_copy(update={"gates": plain.gates.model_copy(update={"approval": True})})
    for number in range(1, 4):
        loop.hour(number, lift=0.4)
        assert question(settings) is None, "it has not won yet"
    loop.hour(4, lift=0.4)
    decided, won = loop.rows(4)
    assert (decided.kind, decided.stage, won.stage) == ("refresh", "production", "staging")
    assert "waits for a person: the DAG approve_release" in won.reasons[0] and question(plain) is None
    asked = question(settings)
    assert won.reasons[0] in asked and "| value in staging | 0." in asked and f"as {won.release_id} of hour {HOURS[4]}" in asked
    row = answered(settings, True, "approve_release, anna")
    assert (row.stage, row.lineage, row.decided_by) == ("production", won.lineage, "approve_release, anna")
    assert row.reasons == (f"approved (promoted {won.release_id})",) and production_before(settings, row.since).release_id == row.release_id
    with pytest.raises(UserError, match="no challenger waits for a person any more"):
        answered(settings, True, "x")


def test_a_worse_whole_ends_and_nothing_goes_on_from_what_it_had_learned(loop):
    settings = loop.settings
    loop.hour(1)
    loop.hour(2, lift=-0.4)
    assert base_hour(settings, HOURS[3]) == HOURS[2]
    loop.hour(3, lift=-0.4)
    decided, ended = loop.rows(3)
    assert decided.stage == "production" and ended.stage == "rejected" and " is " in ended.reasons[0] and "worse" in ended.reasons[0]
    assert challenger_before(settings, HOURS[4]) is None and alias_versions(settings, "staging") == {}
    assert base_hour(settings, HOURS[4]) is None, "from production's weights"
    loop.hour(4)
    assert [row.stage for row in loop.rows(4)] == ["production", "staging"] and base_hour(settings, HOURS[5]) == HOURS[4]


def test_what_may_not_be_shown_begins_no_trial(loop):
    settings = loop.settings
    loop.hour(1, share=0.6)
    loop.hour(2, whole=False)
    loop.hour(3, gates=GATES | {"finite": (0.0, 0.0, 0.0, 1)})
    loop.hour(4, gates=GATES | {"exposure_ratio": (1.4, 1.4, 1.4, 2_000)})
    loop.hour(5, gates={name: figure for name, figure in GATES.items() if name != "slate_entropy_ratio"})
    hold(settings, "promotions", HOURS[6], "a release freeze")
    loop.hour(6)
    assert all(len(loop.rows(number)) == 1 for number in range(1, 7)) and challenger_before(settings) is None


def test_a_version_that_its_gates_refuse_is_neither_shown_nor_promoted_and_a_broken_one_ends_the_trial(loop):
    settings = loop.settings
    loop.hour(1)
    loop.hour(2)
    unsure = GATES | {"auc_per_user_difference": (0.0, -0.01, 0.01, 90_000)}
    loop.hour(3, lift=0.4)
    loop.hour(4, lift=0.4, gates=unsure)
    _, kept = loop.rows(4)
    before = loop.rows(3)[1]
    assert kept.stage == "staging" and kept.versions == before.versions and "not promoted yet: AUC per user" in kept.reasons[0]
    assert same_weights(release_folder(settings, kept.release_id), release_folder(settings, before.release_id))
    loop.hour(5, lift=0.4, gates=GATES | {"exposure_ratio": (1.26, 1.26, 1.26, 2_000)})
    assert loop.rows(5)[1].stage == "staging" and loop.rows(5)[1].versions == before.versions, "other slates than it may show are no proof"
    loop.hour(6, lift=0.4, gates=GATES | {"finite": (0.0, 0.0, 0.0, 1)})
    assert loop.rows(6)[1].stage == "rejected" and challenger_before(settings) is None
    prune_staging(settings, shift(HOURS[4], 168))
    left = {row.hour for row in all_releases(settings) if row.stage == "staging" and release_folder(settings, row.release_id).exists()}
    assert left == {HOURS[4], HOURS[5]}, "a week of them is kept"


def wait(settings, kind, lineage, source):
    """A challenger that was asked for, as ``recloop stage`` leaves it."""
    folder = settings.home / "challengers" / lineage
    folder.mkdir(parents=True)
    (folder / "challenger.json").write_text(json.dumps(asdict(Challenger(lineage, kind, source, 8, "a wider one", "anna"))))


def test_a_change_that_waits_goes_before_a_trial_and_must_win_by_its_own_rule(loop, monkeypatch):
    settings, rule = loop.settings, replace(load_rules()["change"], least_hours=2, least_users=700)
    monkeypatch.setattr("pipelines.steps.staging.load_rules", lambda: load_rules() | {"change": rule})
    wait(settings, "change", "retrain-x", "retrain")
    loop.hour(1)
    begun = loop.rows(1)[1]
    assert (begun.kind, begun.lineage, begun.stage) == ("change", "retrain-x", "staging")
    assert "begins: a wider one; 20% of the users are shown it; a lift of 5% is told" in begun.reasons[0]
    for number in (2, 3, 4):
        loop.hour(number, lift=0.5)
    assert [row.stage for row in loop.rows(4)] == ["production", "staging"], "480 users an arm are not enough"
    loop.hour(5, lift=0.5)
    (won,) = loop.rows(5)
    assert (won.kind, won.lineage, won.stage) == ("change", "retrain-x", "production")


def test_what_equals_production_is_never_promoted_and_a_broken_change_is_never_shown(loop, monkeypatch):
    settings, rule = loop.settings, replace(load_rules()["same"], least_users=400)
    monkeypatch.setattr("pipelines.steps.staging.load_rules", lambda: load_rules() | {"same": rule})
    wait(settings, "same", "same-x", "same")
    loop.hour(1)
    loop.hour(2, lift=0.5)
    loop.hour(3, lift=0.5)
    loop.hour(4, lift=0.5)
    ended = loop.rows(4)[1]
    assert (ended.lineage, ended.stage) == ("same-x", "abstained")
    assert "a false alarm, it equals production but for its seed: is better" in ended.reasons[0]
    wait(settings, "change", "retrain-y", "retrain")
    loop.hour(5, gates=GATES | {"finite": (0.0, 0.0, 0.0, 1)})
    refused = loop.rows(5)[1]
    assert (refused.lineage, refused.stage) == ("retrain-y", "rejected") and "was never shown: finite weights" in refused.reasons[0]
    assert challenger_before(settings) is None and base_hour(settings, HOURS[6]) == HOURS[5], "the main lineage is another"


def test_an_undecided_trial_ends_and_rests(loop, monkeypatch):
    rule = replace(load_rules()["trial"], futile_h=2, rest_h=2)
    monkeypatch.setattr("pipelines.steps.staging.load_rules", lambda: load_rules() | {"trial": rule})
    for number in range(1, 4):
        loop.hour(number)
    assert [row.stage for row in loop.rows(3)] == ["production", "staging"]
    loop.hour(4)
    assert loop.rows(4)[-1].stage == "abstained" and "ended undecided after 2 hours: " in loop.rows(4)[-1].reasons[0]
    assert base_hour(loop.settings, HOURS[5]) == HOURS[4], "nothing is known against what it learned"
    loop.hour(5)
    assert len(loop.rows(5)) == 1 and challenger_before(loop.settings) is None, "it rests"
    loop.hour(6)
    assert [row.stage for row in loop.rows(6)] == ["production", "staging"]


def test_what_a_winner_displaced_keeps_some_users_and_takes_production_back_where_they_do_better_by_it(loop):
    settings = loop.settings
    for number in range(1, 5):
        loop.hour(number, lift=0.4)
    (won,) = loop.rows(4)
    displaced = won.compared_with
    loop.hour(5, whole=False)
    assert [row.stage for row in loop.rows(5)] == ["production"], "the first hour with it is not over"
    loop.hour(6, lift=0.4)
    assert challenger_before(settings).kind == "trial", "and another one may be on trial meanwhile"
    for number in range(7, 12):
        loop.hour(number, lift=0.05, before=0.8, whole=number != 11)
        if loop.rows(number)[0].kind == "rollback":
            break
    back, ended = loop.rows(number)
    assert (back.kind, back.stage, back.decided_by) == ("rollback", "production", "promote_models") and back.versions == next(
        row.versions for row in all_releases(settings) if row.release_id == displaced
    )
    assert f"the guard: production since {won.release_id} is " in back.reasons[0] and back.reasons[0].endswith(f"back to {displaced}")
    assert ended.stage == "rejected" and challenger_before(settings) is None and base_hour(settings, HOURS[number + 1]) is None
    assert same_weights(release_folder(settings, back.release_id), release_folder(settings, displaced))
    assert alias_versions(settings, "production") == back.versions
    guarded = read_metrics(settings, HOURS[number], "guard_lift")[0]
    assert guarded.subject == won.lineage and guarded.value < 0
    loop.hour(number + 1, whole=False)
    assert loop.rows(number + 1)[0].stage == "production" and displaced_by(settings, newest_production(settings), HOURS[20], 24) is None


def test_a_step_that_is_killed_between_models_row_and_aliases_ends_as_if_it_had_not_been(loop, monkeypatch):
    class Killed(BaseException):
        pass

    def killed_at(where):
        def failpoint(settings, here):
            if here == where:
                raise Killed

        return failpoint

    settings = loop.settings
    for number, where in ((1, "promote_models:artifacts"), (2, "promote_models:row")):
        loop.hour(number, decide=False)
        with monkeypatch.context() as patch:
            patch.setattr(promote_models, "failpoint", killed_at(where))
            with pytest.raises(Killed):
                promote_models.decide(settings, HOURS[number])
        assert len(loop.rows(number)) == (0 if where.endswith("artifacts") else 2), "both rows, or none"
        promote_models.decide(settings, HOURS[number])
        decided, beside = loop.rows(number)
        assert alias_versions(settings, "production") == decided.versions and alias_versions(settings, "staging") == beside.versions
    assert [row.release_id for row in all_releases(settings)] == [f"r{number:06d}" for number in range(1, 6)]
