import json
import math
import socket
import time
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient

from pipelines.errors import UserError
from pipelines.registry.client import RegistryDown, call
from pipelines.registry.runs import tracked_run
from pipelines.settings import load_settings

HOUR = "2026-11-23T10"


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    return MlflowClient(mlflow_url)


def test_a_run_tells_what_it_was_made_from(settings, client):
    with tracked_run(settings, "finetune_ranker", HOUR, {"hours": f"{HOUR}..{HOUR}"}) as run:
        run.params({"lr": 3e-4, "tasks": ("click", "watch"), **{f"p{i}": i for i in range(150)}})
        for step in range(1200):
            run.metrics({"loss": 1 / (step + 1)}, step)
        run.metrics({"auc.frozen": 0.7, "auc.production": math.nan, "ratio": math.inf})
        run.inputs({"training_examples": 41, "items": 3})
        run.figure("training", Figure())
        run.text("notes.txt", "held back: 0")
    found = client.get_run(run.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", f"finetune_ranker {HOUR}")
    assert client.get_experiment(found.info.experiment_id).name == "recloop-video"
    wanted = {"hour": HOUR, "step": "finetune_ranker", "hours": f"{HOUR}..{HOUR}", "reward_version": "video-1", "seed": "7"}
    assert found.data.tags.items() >= (wanted | {"lineage": "main"}).items()
    assert {len(found.data.tags[name]) for name in ("code_version", "lock_hash")} == {12}
    assert (found.data.params["lr"], found.data.params["p149"], len(found.data.params)) == ("0.0003", "149", 152)
    assert found.data.metrics == {"loss": 1 / 1200, "auc.frozen": 0.7}
    assert sorted(m.step for m in client.get_metric_history(run.run_id, "loss")) == list(range(1200))
    datasets = {entry.dataset.name: entry.dataset for entry in found.inputs.dataset_inputs}
    assert {name: dataset.digest for name, dataset in datasets.items()} == {"training_examples": "delta:41", "items": "delta:3"}
    assert json.loads(datasets["items"].source) == {"path": str(settings.warehouse / "items"), "delta_table_version": 3}
    assert found.inputs.dataset_inputs[0].tags[0].value == "training"
    picture = Path(client.download_artifacts(run.run_id, "figures/training.png"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert Path(client.download_artifacts(run.run_id, "notes.txt")).read_text() == "held back: 0"


@pytest.mark.parametrize(("error", "status"), [(FloatingPointError("loss is nan"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_that_breaks_says_so_and_keeps_its_metrics(settings, client, error, status):
    with pytest.raises(type(error)), tracked_run(settings, "finetune_ranker", HOUR) as run:
        run.metrics({"loss": 0.5}, 1)
        raise error
    found = client.get_run(run.run_id)
    assert found.info.status == status and found.info.end_time is not None
    assert found.data.tags["error"] == f"{type(error).__name__}: {error}"
    assert found.data.metrics == {"loss": 0.5}


def test_a_rerun_ends_what_a_kill_left_running_and_nothing_else(make_settings, client):
    ours, theirs = make_settings("ours"), make_settings("theirs")

    def killed(settings, step):
        attempt = tracked_run(settings, step, HOUR)
        return attempt, attempt.__enter__().run_id

    left = [killed(ours, "retrain_ranker"), killed(theirs, "retrain_ranker"), killed(ours, "adapt_encoder")]
    with tracked_run(ours, "retrain_ranker", HOUR) as run:
        status = [client.get_run(run_id).info.status for _, run_id in left]
    assert status == ["KILLED", "RUNNING", "RUNNING"]
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_deleted_experiment_is_a_line_that_says_how_to_bring_it_back(make_settings, client):
    settings = make_settings(domain="social")
    with tracked_run(settings, "promote_models", HOUR) as run:
        pass
    client.delete_experiment(run.experiment_id)
    advice = f"mlflow experiments restore -x {run.experiment_id}"
    with pytest.raises(UserError, match=advice), tracked_run(settings, "promote_models", HOUR):
        pytest.fail("the run began")
    client.restore_experiment(run.experiment_id)


def test_mlflow_away_is_one_clear_line(make_settings, quick_to_give_up):
    settings = make_settings(uri="http://127.0.0.1:9")
    with pytest.raises(RegistryDown) as error, tracked_run(settings, "finetune_ranker", HOUR):
        pytest.fail("the run began")
    assert "MLflow at http://127.0.0.1:9 does not answer" in str(error.value) and "\n" not in str(error.value)


def test_a_root_whose_own_server_does_not_run_says_what_to_start(tmp_path):
    with pytest.raises(RegistryDown, match="recloop up"), tracked_run(load_settings(tmp_path, {}), "finetune_ranker", HOUR):
        pytest.fail("the run began")


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(make_settings, quick_to_give_up, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = make_settings(uri=f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(RegistryDown):
            call(settings, lambda client: client.get_experiment_by_name("x"))
        assert 2 <= time.monotonic() - start < 6


def test_a_server_that_dies_in_the_middle_costs_one_wait_and_its_run_is_ended_by_the_next(make_settings, gateway, client, quick_to_give_up):
    with pytest.raises(RegistryDown), tracked_run(make_settings(uri=gateway.url), "refresh_policy", HOUR) as run:
        gateway.shut()
        run.params({"lr": 1.0})
    assert client.get_run(run.run_id).info.status == "RUNNING"
    with tracked_run(make_settings(), "refresh_policy", HOUR):
        assert client.get_run(run.run_id).info.status == "KILLED"


def test_an_error_of_the_step_is_not_hidden_by_mlflow_being_away(make_settings, gateway, quick_to_give_up):
    with pytest.raises(ZeroDivisionError), tracked_run(make_settings(uri=gateway.url), "refresh_policy", HOUR):
        gateway.shut()
        _ = 1 / 0


def test_a_request_that_mlflow_refuses_is_not_tried_again(settings):
    seen = []

    def ask(client):
        seen.append(1)
        return client.get_run("no-such-run")

    with pytest.raises(Exception, match="RESOURCE_DOES_NOT_EXIST"):
        call(settings, ask)
    assert len(seen) == 1
