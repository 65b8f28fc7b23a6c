"""Old runs and versions go from MLflow, but never what was shown to anybody, nor what is another root's."""

from datetime import UTC, datetime, timedelta

import pytest
from mlflow import MlflowClient

from pipelines.hours import end_of, shift
from pipelines.lake.metrics import Metric
from pipelines.registry.lineage_run import log_hour
from pipelines.registry.releases import ReleaseRow, append_decision
from pipelines.registry.retention import prune_runs
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import register, versions

START = "2026-03-01T00"


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    return MlflowClient(mlflow_url)


def registered(settings, folder, hour):
    with tracked_run(settings, "finetune_ranker", hour) as run:
        return run.run_id, register(settings, run, "ranker", folder, hour)


def decide(settings, ranker, stage, hour, before=None):
    number = 1 if before is None else int(before[1:]) + 1
    row = ReleaseRow(
        f"r{number:06d}", hour, {"encoder": "0", "ranker": ranker, "policy": "0"}, "refresh", stage, "t", shift(hour, 1), end_of(hour)
    )  # fmt: skip
    append_decision(settings, row, "r000001" if before else None)


def test_what_led_to_nothing_goes_when_it_is_old(settings, client, make_ranker, tmp_path):
    made = [registered(settings, make_ranker(40 + number)[1], shift(START, number)) for number in range(3)]
    decide(settings, made[0][1], "production", START)
    decide(settings, made[1][1], "staging", shift(START, 1), "r000001")
    decide(settings, made[2][1], "rejected", shift(START, 2), "r000002")
    with tracked_run(settings, "refresh_policy", START) as other:
        pass
    log_hour(settings, START, [Metric("prequential_auc", "production", 0.6)])
    elsewhere = settings.model_copy(update={"home": tmp_path / "elsewhere"})
    theirs = registered(elsewhere, make_ranker(50)[1], START)

    assert prune_runs(settings, datetime.now(UTC) - timedelta(days=1)) == (0, 0), "nothing is a day old"
    assert prune_runs(settings, datetime.now(UTC) + timedelta(days=1)) == (1, 2)
    known = {row.number for row in versions(settings, "ranker")}
    assert {made[0][1], made[1][1], theirs[1]} <= known and made[2][1] not in known
    stages = {run: client.get_run(run).info.lifecycle_stage for run in (*(run for run, _ in made), other.run_id, theirs[0])}
    assert list(stages.values()) == ["active", "active", "deleted", "deleted", "active"]
    assert prune_runs(settings, datetime.now(UTC) + timedelta(days=1)) == (0, 0)
