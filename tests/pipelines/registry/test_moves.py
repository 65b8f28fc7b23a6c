"""Releases that a person moves: promoted, rejected, rolled back, with who and why; and what the hour at work makes of it."""

import shutil

import pytest

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.local.release_history import in_force_at, newest_rows
from pipelines.registry.releases import all_releases, challenger_before, production_before, release_folder
from pipelines.registry.versions import alias_versions
from pipelines.steps import moves, promote_models
from pipelines.steps.candidates import base_hour, candidate_folder
from tests.pipelines.registry.made_up_loop import HOURS

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore")]
WORSE = {"auc_per_user_difference": (-0.02, -0.03, -0.01, 90_000)}
UNSURE = {"auc_per_user_difference": (0.0, -0.01, 0.01, 90_000)}


@pytest.fixture
def settings(loop):
    return loop.settings


def test_a_candidate_that_was_not_known_to_be_as_good_is_promoted_by_hand(loop, settings):
    loop.hour(1, whole=False, refresh=UNSURE)
    (turned_down,) = loop.rows(1)
    assert turned_down.stage == "rejected"
    row = moves.promote(settings, turned_down.release_id, "looked at by hand")
    assert row.decided_by.startswith("recloop promote, ") and row.reasons == ("looked at by hand (promoted r000002)",)
    assert (row.stage, row.compared_with, row.since) == ("production", "r000001", HOURS[1])
    assert production_before(settings, HOURS[1]).release_id == row.release_id and alias_versions(settings, "production") == row.versions
    with pytest.raises(UserError, match="r000003 is in production already"):
        moves.promote(settings, "r000003", "again")


def test_what_was_shown_to_be_worse_needs_an_override_that_is_recorded_and_nan_is_never_promoted(loop, settings):
    loop.hour(1, whole=False, refresh=WORSE)
    with pytest.raises(UserError, match="r000002 was shown to be worse by AUC per user; --override promotes it all the same"):
        moves.promote(settings, "r000002", "the gate is wrong")
    assert len(all_releases(settings)) == 2
    row = moves.promote(settings, "r000002", "the gate is wrong", override=True)
    assert row.reasons[1] == "overridden: AUC per user"
    loop.hour(2, whole=False, refresh=UNSURE)
    (candidate_folder(settings, HOURS[2]) / "ranker" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"the ranker of r000004 cannot be used: model\.safetensors"):
        moves.promote(settings, "r000004", "x", override=True)
    assert len(all_releases(settings)) == 4 and not release_folder(settings, "r000005").exists()


def test_bad_words_change_nothing(loop, settings):
    loop.hour(1, whole=False)
    for call, words in (
        (lambda: moves.promote(settings, "r000001", " "), "needs a reason; give --reason"),
        (lambda: moves.promote(settings, "r000009", "x"), "no release r000009, and none with ranker version r000009"),
        (lambda: moves.reject(settings, "r000002", "x"), "r000002 is or was in production; `recloop rollback`"),
        (lambda: moves.roll_back(settings, "x", "r000002"), "r000002 is what production is now"),
        (lambda: moves.roll_back(settings, "x", "r000007"), "r000007 was never in production"),
        (lambda: in_force_at(settings, "2026-11-01T00"), "nothing was in production for 2026-11-01T00"),
    ):
        with pytest.raises(UserError, match=words):
            call()
    assert len(all_releases(settings)) == 2


def test_a_rejected_challenger_leaves_staging_and_a_rejected_candidate_is_a_dead_end(loop, settings):
    loop.hour(1)
    lineage = challenger_before(settings).lineage
    row = moves.reject(settings, lineage, "complaints")
    assert (row.stage, row.lineage, row.kind) == ("rejected", lineage, "trial") and challenger_before(settings) is None
    assert alias_versions(settings, "staging") == {} and production_before(settings, HOURS[2]).release_id == "r000002"
    with pytest.raises(UserError, match="is not in staging any more"):
        moves.reject(settings, "r000003", "again")
    loop.hour(2, whole=False, refresh=UNSURE)
    assert base_hour(settings, HOURS[3]) == HOURS[2]
    moves.reject(settings, all_releases(settings)[-1].release_id, "looks broken")
    assert base_hour(settings, HOURS[3]) is None, "nor goes it on from what was on trial"


def test_a_roll_back_goes_one_step_and_then_another_and_ends_what_is_in_staging(loop, settings):
    for number in (1, 2, 3):
        loop.hour(number, whole=number == 3)
    released = [row for row in all_releases(settings) if row.stage == "production"]
    assert challenger_before(settings) is not None
    back = moves.roll_back(settings, "clicks fell")
    assert (back.kind, back.versions, back.compared_with) == ("rollback", released[-2].versions, released[-1].release_id)
    assert back.since == ledger.newest_hour(settings, "score_users")
    assert production_before(settings, back.since).release_id == back.release_id
    ended = all_releases(settings)[-1]
    assert (ended.stage, ended.kind) == ("rejected", "trial") and challenger_before(settings) is None
    assert base_hour(settings, HOURS[9]) is None, "the lineage goes on from the weights that are back"
    further = moves.roll_back(settings, "still")
    assert further.versions == released[-3].versions
    named = moves.roll_back(settings, "all the way", "r000001")
    assert named.versions == released[0].versions
    with pytest.raises(UserError, match="there is nothing to go back to"):
        moves.roll_back(settings, "further")
    assert [row.release_id for row in (*newest_rows(settings, 1), *in_force_at(settings, HOURS[9]))] == [named.release_id] * 2


def test_a_roll_back_whose_models_are_gone_changes_nothing(loop, settings):
    loop.hour(1, whole=False)
    shutil.rmtree(release_folder(settings, "r000001"))
    with pytest.raises(UserError, match=r"the ranker of r000001 cannot be used: no config\.json"):
        moves.roll_back(settings, "x")
    assert len(all_releases(settings)) == 2


def test_a_candidate_that_was_measured_against_another_production_is_not_promoted(loop, settings):
    """A move while the hour is at work: what the hour measured says nothing about what is in production now."""
    loop.hour(1, whole=False)
    loop.hour(2, decide=False)
    moves.roll_back(settings, "clicks fell")
    promote_models.decide(settings, HOURS[2])
    (row,) = loop.rows(2)[-1:]
    assert row.stage == "abstained" and row.reasons == ("the candidate was measured against r000002, and production is r000003 now",)
    assert production_before(settings, HOURS[3]).kind == "rollback" and challenger_before(settings) is None
    loop.hour(3, whole=False)
    assert loop.rows(3)[0].stage == "production", "the next hour measures against it"
