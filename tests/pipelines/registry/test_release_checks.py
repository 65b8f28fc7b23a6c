"""Versions of releases against a registry in a file of its own."""

import pytest
from mlflow import MlflowClient

from pipelines.lake.control import append_rows
from pipelines.lake.verify.findings import Findings
from pipelines.registry.release_checks import check_releases
from pipelines.registry.versions import model_name
from pipelines.settings import load_settings
from spark_jobs.contracts import TABLES

HOUR = "2026-11-10T08"


def rejected(settings, release_id, **versions):
    values = {field.name: HOUR for field in TABLES["releases"].schema if str(field.type) == "string"}
    decided = {"release_id": release_id, "stage": "rejected", "versions": versions, "decided_at": 0, "reasons": [], "gates": []}
    append_rows(settings, "releases", [values | decided])


@pytest.fixture
def registry(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    settings = load_settings(tmp_path / "root", {"RECLOOP__MLFLOW__TRACKING_URI": uri})
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for kind in ("encoder", "ranker", "policy"):
        client.create_registered_model(model_name(settings, kind))
        client.create_model_version(model_name(settings, kind), str(tmp_path))
    return settings


def test_each_version_of_each_release_is_looked_up(registry):
    rejected(registry, "r000001", encoder="1", ranker="1", policy="1")
    found = Findings()
    check_releases(found, registry)
    assert not found.findings and not found.not_checked
    rejected(registry, "r000002", encoder="1", ranker="2", policy="1")
    check_releases(found, registry)
    assert [(f.check, f.where, f.found) for f in found.findings] == [("release", "release r000002, ranker", "no version 2 in MLflow")]


def test_a_registry_that_is_away_is_said(tmp_path):
    settings = load_settings(tmp_path, {})
    rejected(settings, "r000001", encoder="1", ranker="1", policy="1")
    found = Findings()
    check_releases(found, settings)
    assert not found.findings and "MLflow is not running" in found.not_checked[0]
