"""The root's run whose steps are hours: each hour once, and two roots on one server apart."""

import pytest
from mlflow import MlflowClient

from pipelines.hours import shift
from pipelines.lake.metrics import Metric
from pipelines.registry.lineage_run import KIND, log_hour
from pipelines.registry.runs import tracked_run

pytestmark = pytest.mark.services
START = "2026-11-23T10"


def curves(url, settings):
    """Steps and values by name, of each lineage run of the experiment that holds them."""
    client = MlflowClient(url)
    experiment = client.get_experiment_by_name(f"recloop-{settings.domain}").experiment_id
    runs = client.search_runs([experiment], f"tags.kind = '{KIND}'")

    def curve(run, name):
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]

    return {run.info.run_id: {name: curve(run, name) for name in run.data.metrics} for run in runs}


def test_hours_are_steps_of_one_run_whatever_runs_again(make_settings, mlflow_url):
    def of(home):
        settings = make_settings(home, domain="social")
        return settings.model_copy(update={"lake": settings.lake.model_copy(update={"start_hour": START})})

    one, other = of("one"), of("other")
    for number, value in enumerate((0.6, 0.7)):
        figures = [
            Metric("prequential_auc_per_user", "production", value), Metric("policy_value", "candidate", value, slice="gate fold"),
            Metric("prequential_auc_per_user", "production", 0.1, slice="cold users"), Metric("gate_finite", "ranker", 1.0),
        ]  # fmt: skip
        log_hour(one, shift(START, 24 + number), figures)
        log_hour(one, shift(START, 24 + number), [*figures, Metric("update_share", "ranker", 0.5), Metric("coverage", "scores", 0.1)])
    log_hour(other, shift(START, 3), [Metric("update_share", "ranker", 1.0)])
    log_hour(other, shift(START, 4), [Metric("gate_finite", "ranker", 1.0)])
    with tracked_run(one, KIND, START):
        pass
    found = sorted(curves(mlflow_url, one).values(), key=len)
    assert found == [
        {"update_share.ranker": [(3, 1.0)]},
        {
            "prequential_auc_per_user.production": [(24, 0.6), (25, 0.7)], "policy_value.candidate": [(24, 0.6), (25, 0.7)],
            "update_share.ranker": [(24, 0.5), (25, 0.5)], "coverage.scores": [(24, 0.1), (25, 0.1)],
        },
    ]  # fmt: skip
