"""A model's folder as an MLflow logged model: code, weights, signature and example, uploaded once. Nothing is pickled or loaded."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry.client import call
from pipelines.registry.flavors import MODELS, Flavor
from pipelines.registry.runs import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel


def log_model(run: Run, flavor: Flavor, tags: Mapping[str, str]) -> str:
    """Id of the new logged model, an output of the run, with the run's parameters and metrics."""
    settings = run.settings
    logged = call(settings, lambda client: _create(client, run, flavor, tags))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        _save(folder, Path(scratch) / flavor.kind, run, flavor, logged)
        call(settings, lambda client: client.log_model_artifacts(logged.model_id, str(folder)))
    call(settings, lambda client: client.finalize_logged_model(logged.model_id, "READY"))
    return str(logged.model_id)


def drop_unregistered(run: Run, identity: Mapping[str, str]) -> None:
    """Deletes logged models of this identity: what a killed attempt logged and never registered."""
    condition = " AND ".join(f"tags.{key} = '{value}'" for key, value in identity.items())
    for left in call(run.settings, lambda client: client.search_logged_models([run.experiment_id], condition)):
        _delete(run, left.model_id)


def link_version(run: Run, model_id: str, name: str, number: str) -> None:
    """Notes on the logged model which version it became, as the registry's page expects it."""
    value = json.dumps([{"name": name, "version": number}])
    call(run.settings, lambda client: client.set_logged_model_tags(model_id, {"mlflow.modelVersions": value}))


def _delete(run: Run, model_id: str) -> None:
    call(run.settings, lambda client: client.delete_logged_model(model_id))


def _create(client: "MlflowClient", run: Run, flavor: Flavor, tags: Mapping[str, str]) -> "LoggedModel":
    from mlflow.entities import LoggedModelOutput, Metric

    data = client.get_run(run.run_id).data
    logged = client.create_logged_model(
        run.experiment_id, name=flavor.kind, source_run_id=run.run_id, tags=dict(tags), params=data.params, model_type=flavor.kind
    )
    client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    metrics = [Metric(m.key, m.value, m.timestamp, m.step, model_id=logged.model_id, run_id=run.run_id) for m in data._metric_objs]
    if metrics:
        client.log_batch(run.run_id, metrics=metrics)
    return logged


def _save(folder: Path, source: Path, run: Run, flavor: Flavor, logged: "LoggedModel") -> None:
    """``source`` becomes a folder of the model's files, named by the kind."""
    import mlflow.pyfunc
    from mlflow.models import Model

    source.mkdir()
    for file in flavor.files:
        shutil.copyfile(file, source / file.name)
    mlflow.pyfunc.save_model(
        folder,
        python_model=flavor.code,
        artifacts={flavor.kind: str(source)},
        code_paths=[str(MODELS)],
        signature=flavor.signature,
        input_example=flavor.example,
        pip_requirements=flavor.requirements,
        model_config=flavor.config or None,
        metadata=flavor.metadata,
        mlflow_model=Model(
            artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run.run_id, model_id=logged.model_id
        ),
    )
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
