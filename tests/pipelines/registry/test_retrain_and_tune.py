"""A full retrain and a search on a root without Spark: what they leave in MLflow, the ledger and the metrics, and what they leave alone."""

import pyarrow as pa
import pytest
import torch
from deltalake import DeltaTable, write_deltalake
from typer.testing import CliRunner

from models.artifacts import save_ranker
from pipelines.cli import app
from pipelines.errors import UserError
from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.lake.metrics import read_metrics
from pipelines.lake.tables import table_path, table_version
from pipelines.registry.client import call
from pipelines.registry.provenance import run_tags
from pipelines.registry.releases import ReleaseRow, append_decision, release_folder
from pipelines.registry.versions import alias_versions, versions
from pipelines.steps import adopt_retrain, retrain_ranker, tune_ranker
from pipelines.steps.candidates import STATE, candidate_folder
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.ranker_learning import base_state, learn
from pipelines.steps.retrain_learning import retrain, untrained
from pipelines.steps.retrains import adopted_folder, forgetting_figures, retrain_folder
from pipelines.steps.step import Attempt
from pipelines.steps.tune_study import open_study

START = "2026-11-10T08"
HOURS = [shift(START, n) for n in range(9)]


@pytest.fixture
def root(make_examples_root, mlflow_url):
    return make_examples_root(len(HOURS), RECLOOP__MLFLOW__TRACKING_URI=mlflow_url)


@pytest.fixture
def lineage(root, note_done):
    """The loop's own small steps up to the last hour but one, in production."""
    last, encoder, reader = HOURS[-2], encoder_spec(root).version, reader_of(root, HOURS[-1])
    state = learn(reader, HOURS[:1], None, encoder).state
    state = learn(reader, HOURS[1:-1], state, encoder).state
    state.save(candidate_folder(root, last) / STATE)
    note_done(root, "finetune_ranker", HOURS[:-1])
    row = ReleaseRow("r000001", START, {"encoder": "1", "ranker": "1", "policy": "1"}, "bootstrap", "production", "t", START, end_of(START))
    append_decision(root, row, None)
    save_ranker(state.served(), release_folder(root, "r000001") / "ranker")
    return state


def reader_of(settings, hour):
    return example_reader(Attempt(settings, "test", [hour]), encoder_spec(settings).version)


def weights(state):
    return {name: weight for name, weight in state.ranker.state_dict().items() if "calibration" not in name}


@pytest.fixture
def recloop(root, mlflow_url):
    """The command in this process, at the root."""

    def run(*arguments):
        return CliRunner().invoke(app, ["--home", str(root.home), *arguments], env={"RECLOOP__MLFLOW__TRACKING_URI": mlflow_url})

    return run


def test_a_retrain_leaves_a_version_figures_and_a_row_and_moves_nothing(root, lineage, recloop):
    last = HOURS[-2]
    before, candidates = versions(root, "ranker"), alias_versions(root, "candidate")
    outcome = retrain_ranker.run(root)
    assert (outcome.hour, outcome.status) == (last, "done") and "lineage less retrain: fresh " in outcome.detail
    (version,) = [found for found in versions(root, "ranker") if found not in before]
    assert (version.hour, version.tags["recipe"]) == (last, "full retrain") and alias_versions(root, "candidate") == candidates
    figures = {(metric.name, metric.slice): metric for metric in read_metrics(root, last)}
    fresh = figures["forgetting_fresh", "gate fold"]
    assert 0 < fresh.n < 7 * 30 * 6 and fresh.low <= fresh.value <= fresh.high
    assert figures["forgetting_reservoir", "gate fold"].n == fresh.n, "all hours lie within a day: the same rows"
    assert set(forgetting_figures(root, last)) == {"forgetting_fresh", "forgetting_reservoir"}
    assert forgetting_figures(root, shift(last, -1)) == {}
    state = base_state(root, HOURS[-1], encoder_spec(root).version)
    assert all(torch.equal(weight, weights(lineage)[name]) for name, weight in weights(state).items()), "the lineage goes on as it was"
    row = ledger.last_done(root, "retrain_ranker", last)
    assert row.inputs["training_examples"] == 0 and row.rows_in > 0
    again = recloop("retrain", last)
    assert again.exit_code == 0 and f"{last} unchanged: the hour was finished by this code" in " ".join(again.output.split())


@pytest.fixture
def retrained(note_done):
    """What a full retrain leaves where it is not registered."""

    def make(settings, hour):
        reader, encoder = reader_of(settings, hour), encoder_spec(settings).version
        hours = [found for found in reader.examples.hours if found <= hour]
        state = retrain(reader, hours, untrained(reader, hours, encoder)).state
        state.save(retrain_folder(settings, hour) / STATE)
        note_done(settings, "retrain_ranker", [hour])
        return state

    return make


def test_the_lineage_goes_on_from_an_adopted_retrain_through_the_hours_since(root, lineage, retrained):
    earlier = HOURS[-4]
    with pytest.raises(UserError, match="no full retrain to go on from"):
        adopt_retrain.run(root)
    begun = retrained(root, earlier)
    assert adopt_retrain.run(root).status == "done"
    reader = reader_of(root, HOURS[-2])
    expected = learn(reader, HOURS[-3:-1], begun, encoder_spec(root).version).state
    state = base_state(root, HOURS[-1], encoder_spec(root).version)
    assert state.step == expected.step > begun.step
    assert all(torch.equal(weight, weights(expected)[name]) for name, weight in weights(state).items())
    assert forgetting_figures(root, HOURS[-1]) == {} and adopt_retrain.run(root).status == "unchanged"


def test_a_retrain_of_another_shape_is_not_gone_on_from(root, lineage, retrained):
    wider = root.model_copy(update={"ranker": root.ranker.model_copy(update={"hidden": 32})})
    retrained(wider, HOURS[-2])
    with pytest.raises(UserError, match=r"retrain of .* differs from production in hidden"):
        adopt_retrain.run(wider)
    assert not adopted_folder(root, HOURS[-2]).exists()


def test_a_catalogue_that_got_images_is_read_with_them_after_an_adopted_retrain(root, lineage, retrained, note_done):
    path = str(table_path(root, "items"))
    items = DeltaTable(path).to_pyarrow_table()
    images = pa.array([[float(n % 3), 1.0, -float(n)] for n in range(len(items))], items.schema.field("image_vector").type)
    write_deltalake(path, items.set_column(items.schema.get_field_index("image_vector"), "image_vector", images), mode="overwrite")
    note_done(root, "ingest", HOURS, {"items": table_version(root, "items")})
    assert base_state(root, HOURS[-1], encoder_spec(root).version).ranker.config.image_dim == 0
    retrained(root, HOURS[-2])
    assert adopt_retrain.run(root).status == "done"
    assert base_state(root, HOURS[-1], encoder_spec(root).version).ranker.config.image_dim == 3


def test_a_retrain_that_nothing_was_compared_with_says_so():
    assert retrain_ranker.sentence([]).startswith("not compared: ")


def test_hours_that_cannot_be_retrained_are_one_line(root, note_done):
    with pytest.raises(UserError, match="nothing was learned here yet"):
        retrain_ranker.run(root)
    note_done(root, "finetune_ranker", HOURS[:3])
    with pytest.raises(UserError, match=f"the lineage has learned up to {HOURS[2]}; give that or an earlier hour"):
        retrain_ranker.run(root, HOURS[3])


def runs_of(settings, step):
    experiment = call(settings, lambda client: client.get_experiment_by_name("recloop-video"))
    found = call(settings, lambda client: client.search_runs([experiment.experiment_id], f"tags.step = '{step}'"))
    return [run for run in found if run.data.tags["root"] == run_tags(settings, step, START)["root"]]


def test_a_search_goes_on_where_it_stopped_prunes_and_tells_what_it_gains(root):
    tables = {name: table_version(root, name) for name in ("training_examples", "ledger")}
    heard = []
    first = tune_ranker.run(root, 5, 8, on_trial=heard.append)
    assert len(heard) == 5 and sum(first.trials.values()) == 5
    assert heard[0].startswith("trial 0 complete") and f"hidden {root.ranker.hidden}" in heard[0], "the present settings come first"
    assert first.chosen >= first.chosen_present
    open_study(root, encoder_spec(root).version, HOURS, 8, anew=False)[0].ask()  # and then it was killed
    second = tune_ranker.run(root, 5, 8, on_trial=heard.append)
    assert len(heard) == 10 and sum(second.trials.values()) == 11 and second.chosen >= first.chosen
    assert second.trials["fail"] == 1 and second.trials["running"] == 0, "a trial of a killed call is not waited for"
    assert second.trials["pruned"] > 0, "a median pruner stops the worse half"
    assert (list(second.hours.choosing), list(second.hours.confirming)) == (HOURS[1:7], HOURS[7:])
    assert {name: table_version(root, name) for name in tables} == tables, "a search writes no table"
    parents, children = runs_of(root, "tune_ranker"), runs_of(root, "tune_trial")
    assert len(parents) == 2 and len(children) == 10 and {run.info.status for run in parents + children} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {run.info.run_id for run in parents}


def test_a_search_under_other_settings_begins_anew(root, recloop):
    done = recloop("tune", "--trials", "1", "--hours", "8")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("trial 0 complete: 0.") and "nothing was better than the present settings" in done.output
    other = root.model_copy(update={"seed": 8})
    with pytest.raises(UserError, match=r"began with seed 7, now 8.*--anew"):
        tune_ranker.run(other, 1, 8)
    with pytest.raises(UserError, match="at least 4 hours with examples after the first load, found 0"):
        tune_ranker.tune_hours(HOURS[:1], 8)
