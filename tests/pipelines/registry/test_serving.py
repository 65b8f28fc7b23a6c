"""A registered ranker behind MLflow's own server answers the request that was logged with it."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests
from mlflow import MlflowClient

from pipelines.registry.flavors import flavor_of
from pipelines.registry.pyfunc_ranker import as_batch
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import model_name, register
from tests.pipelines.registry.conftest import free_port

pytestmark = pytest.mark.services
HOUR, PATIENCE_S = "2026-03-02T00", 120


@pytest.fixture
def model(settings, make_ranker) -> str:
    """Address of a registered ranker."""
    with tracked_run(settings, "finetune_ranker", HOUR) as run:
        number = register(settings, run, "ranker", make_ranker(31)[1], HOUR)
    return f"models:/{model_name(settings, 'ranker')}/{number}"


@pytest.fixture
def served(model, mlflow_url, tmp_path):
    """Address at which the model is served, by a process that does not see the checkout."""
    port, tools = free_port(), Path(sys.executable).parent
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"MLFLOW_TRACKING_URI": mlflow_url, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environ["PATH"] = f"{tools}{os.pathsep}{environ.get('PATH', '')}"
    command = [str(tools / "mlflow"), "models", "serve", "-m", model, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environ, cwd=tmp_path, start_new_session=True)
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/ping", server, tmp_path / "log")
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


def _wait_until_it_answers(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and server.poll() is None:
        with suppress(requests.ConnectionError):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.3)
    raise RuntimeError(f"the model was not served: {log.read_text()[-2000:]}")


def logged_request(url: str, model: str) -> str:
    """What MLflow keeps beside the model as an example of a request."""
    name, number = model.removeprefix("models:/").split("/")
    client = MlflowClient(url)
    logged = client.get_logged_model(client.get_model_version(name, number).source.removeprefix("models:/"))
    folder = logged.artifact_location.removeprefix("mlflow-artifacts:/")
    answer = requests.get(f"{url}/api/2.0/mlflow-artifacts/artifacts/{folder}/serving_input_example.json", timeout=30)
    answer.raise_for_status()
    return answer.text


def test_the_logged_request_gets_the_probabilities_of_the_torch_model(served, model, settings, mlflow_url, make_ranker):
    request = logged_request(mlflow_url, model)
    answer = requests.post(served, request, headers={"Content-Type": "application/json"}, timeout=30)
    assert answer.status_code == 200, answer.text
    found = [[row["click"], row["watch"]] for row in answer.json()["predictions"]]

    ranker, files = make_ranker(31)
    wanted = ranker(*as_batch(flavor_of(settings, "ranker", files).example, ranker.config)).sigmoid().detach().numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert abs(wanted[0] - wanted[1]).min() > 1e-4, "the second has no history"

    columns = json.loads(request)["dataframe_split"]
    unnamed = {"columns": columns["columns"][1:], "data": [row[1:] for row in columns["data"]]}
    refused = requests.post(served, json={"dataframe_split": unnamed}, timeout=30)
    assert refused.status_code == 400 and columns["columns"][0] in refused.text
