"""The whole update on trial, from the hour that begins it to the one that ends it, through the release step and a real MLflow."""

from dataclasses import replace

import pytest

from models.artifacts import load_ranker
from pipelines.lake import ledger
from pipelines.lake.holds import hold
from pipelines.lake.metrics import read_metrics
from pipelines.registry.releases import all_releases, challenger_before, decision_for, production_before, release_folder
from pipelines.registry.staging import load_rules
from pipelines.registry.versions import alias_versions, versions
from pipelines.steps import promote_models
from pipelines.steps.candidates import base_hour, challenger_folder
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
    assert "begins: the log could judge 20% of the update, 50% of the users are shown the whole; a lift of 5% is told" in begun.reasons[0]
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
    loop.hour(5, lift=0.4, gates=GATES | {"finite": (0.0, 0.0, 0.0, 1)})
    assert loop.rows(5)[1].stage == "rejected" and challenger_before(settings) is None


def test_an_undecided_trial_ends_and_rests(loop, monkeypatch):
    rule = replace(load_rules()["trial"], futile_h=2, rest_h=2)
    monkeypatch.setattr("pipelines.steps.staging.load_rules", lambda: {"trial": rule})
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
                promote_models.run(settings, HOURS[number])
        assert len(loop.rows(number)) == (0 if where.endswith("artifacts") else 2), "both rows, or none"
        promote_models.run(settings, HOURS[number])
        decided, beside = loop.rows(number)
        assert alias_versions(settings, "production") == decided.versions and alias_versions(settings, "staging") == beside.versions
    assert [row.release_id for row in all_releases(settings)] == [f"r{number:06d}" for number in range(1, 6)]
