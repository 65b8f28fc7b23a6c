"""What a reviewer finds on a fine-tune's run and on its version's page, from the first load on."""

import shutil

import pytest
from mlflow import MlflowClient

from pipelines.hours import end_of, shift
from pipelines.registry.releases import ReleaseRow, append_decision, release_folder
from pipelines.registry.versions import model_name
from pipelines.settings import load_settings
from pipelines.steps import finetune_ranker
from pipelines.steps.candidates import RANKER, candidate_folder

pytestmark = pytest.mark.services
FIRST, NEXT = "2026-11-10T08", "2026-11-10T09"


@pytest.fixture
def root(make_examples_root, mlflow_url):
    return make_examples_root(3, RECLOOP__MLFLOW__TRACKING_URI=mlflow_url)


def learned(root, client, hour):
    """Run, card and figures of the version that the hour left."""
    outcome = finetune_ranker.run(root, hour)
    assert outcome.status == "done", outcome.detail
    version = client.get_model_version(model_name(root, "ranker"), outcome.detail.split()[1])
    figures = {file.path.removeprefix("figures/") for file in client.list_artifacts(version.run_id, "figures")}
    return client.get_run(version.run_id).data, version.description, figures


def test_from_the_first_load_to_an_update_that_is_judged(root, mlflow_url):
    client = MlflowClient(mlflow_url)
    run, card, figures = learned(root, client, FIRST)
    assert figures == {"training.png"} and "judged_rows" not in run.params
    assert "- Judged by nothing yet" in card and f"recloop backfill --from {FIRST} --to {FIRST}" in card
    assert run.params["learning_rate"] == str(root.ranker.bootstrap_lr) and not any(name.startswith("step norm") for name in run.metrics)

    folder = release_folder(root, "r000001")
    shutil.copytree(candidate_folder(root, FIRST) / RANKER, folder / RANKER)
    versions = {"encoder": "1", "ranker": run.tags["ranker_version"], "policy": "1"}
    row = ReleaseRow("r000001", FIRST, versions, "bootstrap", "production", "promote_models", FIRST, end_of(FIRST))
    append_decision(root, row, None)

    run, card, figures = learned(root, client, shift(NEXT, 1))
    assert figures == {"training.png", "calibration.png", "auc by hour.png", "slices.png", "steps.png"}
    rows = {name.removeprefix("update_rows."): value for name, value in run.metrics.items() if name.startswith("update_rows.")}
    assert rows["fresh"] + rows["gate fold"] == 360 and rows["bots"] == rows["poisoned"] == rows["corrections"] == 0
    assert run.metrics["step norm/all"] == run.metrics["update_norm.ranker"] == run.metrics["update_norm.whole"] > 0
    assert run.params["judged_hours"] == f"{NEXT}..{shift(NEXT, 1)}" and run.params["learning_rate"] == str(root.ranker.lr)
    assert f"hours {NEXT}..{shift(NEXT, 1)}, by click alone" in card and "Too few rows to tell how it does for: all (" in card


def test_the_same_tables_settings_and_seed_make_the_same_version(root, mlflow_url, tmp_path):
    copies = {}
    for name, seed in (("again", "7"), ("other", "8")):
        home = shutil.copytree(root.home, tmp_path / name)
        copies[name] = load_settings(home, {"RECLOOP__MLFLOW__TRACKING_URI": mlflow_url, "RECLOOP__SEED": seed})
    numbers = {name: finetune_ranker.run(one, FIRST).detail.split()[1] for name, one in {"root": root, **copies}.items()}
    assert numbers["root"] == numbers["again"] != numbers["other"]
