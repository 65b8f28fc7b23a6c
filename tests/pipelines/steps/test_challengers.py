"""Challengers with weights of their own: where they begin, what an hour adds, and who goes on from them."""

import pytest
import torch

from models.artifacts import save_ranker
from models.training import TrainState
from pipelines.errors import UserError
from pipelines.hours import end_of, shift
from pipelines.registry.releases import MAIN, ReleaseRow, append_decision, release_folder
from pipelines.steps.candidates import STATE, candidate_folder
from pipelines.steps.challengers import at_work, begin, refreshed, waiting
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.ranker_learning import base_state, finetune_settings, learn
from pipelines.steps.retrains import retrain_folder
from pipelines.steps.step import Attempt

START = "2026-11-10T08"
HOURS = [shift(START, n) for n in range(7)]
VERSIONS = {"encoder": "1", "ranker": "1", "policy": "1"}


def row(number, stage, lineage=MAIN, kind="refresh", hour=START):
    return ReleaseRow(f"r{number:06d}", hour, VERSIONS, kind, stage, "t", shift(hour, 1), end_of(hour), lineage)


@pytest.fixture
def root(make_examples_root, note_done):
    """Three hours were learned, and are in production."""
    settings = make_examples_root(len(HOURS))
    reader, encoder = reader_of(settings), encoder_spec(settings).version
    state = learn(reader, HOURS[1:3], learn(reader, HOURS[:1], None, encoder).state, encoder).state
    state.save(candidate_folder(settings, HOURS[2]) / STATE)
    note_done(settings, "finetune_ranker", HOURS[:3])
    append_decision(settings, row(1, "production"), None)
    save_ranker(state.served(), release_folder(settings, "r000001") / "ranker")
    return settings


def reader_of(settings):
    return example_reader(Attempt(settings, "test", [HOURS[-1]]), encoder_spec(settings).version)


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first if "calibration" not in name)


def test_the_same_recipe_with_another_seed_learns_the_same_hours_in_its_own_order(root):
    own = begin(root, "same", "weekly")
    assert (own.kind, own.lineage, own.seed) == ("same", f"same-{HOURS[2]}", root.seed + 1) and at_work(root) == waiting(root) == own
    reader, encoder = reader_of(root), encoder_spec(root).version
    found = refreshed(reader, own, HOURS[4])
    start = TrainState.create(challengers_start(root), finetune_settings(root, bootstrap=False, seed=root.seed + 1))
    assert same(found, learn(reader, HOURS[3:5], start, encoder, seed=root.seed + 1).state.served()), "both hours since it was asked for"
    others = TrainState.create(challengers_start(root), finetune_settings(root, bootstrap=False))
    assert not same(found, learn(reader, HOURS[3:5], others, encoder).state.served())


def challengers_start(settings):
    from models.artifacts import load_ranker

    return load_ranker(release_folder(settings, "r000001") / "ranker")


def test_an_hour_that_runs_again_learns_nothing_twice_and_old_weights_go(root):
    own, reader = begin(root, "same", "weekly"), reader_of(root)
    refreshed(reader, own, HOURS[3])
    first = refreshed(reader, own, HOURS[4])
    assert same(first, refreshed(reader, own, HOURS[4]))
    refreshed(reader, own, HOURS[5])
    refreshed(reader, own, HOURS[6])
    kept = sorted(path.name for path in (root.home / "challengers" / own.lineage).iterdir())
    assert kept == [*HOURS[4:], "challenger.json"]


def test_a_retrain_challenges_with_what_it_had_learned_and_the_lineage_goes_on_from_it_once_it_won(root, note_done):
    reader, encoder = reader_of(root), encoder_spec(root).version
    with pytest.raises(UserError, match="there is no full retrain that could challenge production; run `recloop retrain` first"):
        begin(root, "retrain", "wider")
    other = learn(reader, HOURS[:2], None, encoder).state
    other.save(retrain_folder(root, HOURS[1]) / STATE)
    note_done(root, "retrain_ranker", [HOURS[1]])
    own = begin(root, "retrain", "wider")
    assert own.kind == "change"
    found = refreshed(reader, own, HOURS[3])
    again = TrainState.load(retrain_folder(root, HOURS[1]) / STATE, finetune_settings(root, bootstrap=False))
    assert same(found, learn(reader, HOURS[2:4], again, encoder).state.served()), "with the hours since the retrain"
    before = base_state(root, HOURS[4], encoder)
    append_decision(root, row(2, "production", own.lineage, "change", HOURS[3]), "r000001")
    save_ranker(found, release_folder(root, "r000002") / "ranker")
    after = base_state(root, HOURS[4], encoder)
    assert same(after.served(), found) and not same(before.served(), found)
    after.save(candidate_folder(root, HOURS[4]) / STATE)
    learned = learn(reader, HOURS[4:5], after, encoder).state
    learned.save(candidate_folder(root, HOURS[4]) / STATE)
    note_done(root, "finetune_ranker", [HOURS[4]])
    assert same(base_state(root, HOURS[5], encoder).served(), learned.served()), "then from what it learned itself"


def test_one_challenger_at_a_time(root):
    begin(root, "same", "weekly")
    with pytest.raises(UserError, match="waits for staging already: one challenger at a time"):
        begin(root, "same", "again")
    lineage = waiting(root).lineage
    append_decision(root, row(2, "staging", lineage, "same", HOURS[3]), "r000001")
    assert waiting(root) is None and at_work(root).lineage == lineage
    with pytest.raises(UserError, match=rf"{lineage} is in staging: .*`recloop reject {lineage}` ends it"):
        begin(root, "same", "again")
    append_decision(root, row(3, "abstained", lineage, "same", HOURS[4]), "r000001")
    assert at_work(root) is None


def test_a_trial_has_no_weights_of_its_own_and_what_waits_waits_for_its_end(root):
    own = begin(root, "same", "weekly")
    append_decision(root, row(2, "staging", "trial-x", "trial", HOURS[3]), "r000001")
    assert at_work(root) is None and waiting(root) == own
    append_decision(root, row(3, "abstained", "trial-x", "trial", HOURS[4]), "r000001")
    assert at_work(root) == own


def test_bad_words_leave_nothing(root, make_examples_root):
    with pytest.raises(UserError, match="a challenger needs a reason"):
        begin(root, "same", " ")
    config = root.model_copy(update={"encoder": root.encoder.model_copy(update={"max_tokens": root.encoder.max_tokens + 1})})
    with pytest.raises(UserError, match=r"the same reads vectors of encoder .*, encoder\.path gives"):
        begin(config, "same", "x")
    assert not (root.home / "challengers").exists() and waiting(root) is None
