"""One long-lived run a root whose steps are hours: in MLflow's own pages its metrics are curves over the lineage's life."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.hours import end_of, hours_between
from pipelines.lake.metrics import GATE_FOLD, Metric
from pipelines.registry.client import call
from pipelines.registry.provenance import run_tags
from pipelines.registry.runs import experiment_id, metric_key
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = "lineage"
_CURVES = (
    "prequential_", "policy_value", "policy_entropy", "policy_churn", "propensity_", "session_return", "update_", "staging_", "guard_",
    "promised_", "realised_", "turned_down_", "parity_",
    "coverage", "exposure_gini", "new_item_delay_h", "reward_a_slate", "share_of_fallbacks", "drift_found",
)  # fmt: skip
_ABOUT = "All hours of this root: the step of a metric is the hour, counted from the first one. Each hour's own runs tell the rest."


def log_hour(settings: Settings, hour: str, figures: Sequence[Metric]) -> None:
    """The hour's figures as one step of the root's run; what is there already MLflow does not take twice. Raises RegistryDown."""
    from mlflow.entities import Metric as Point

    step, at = hours_between(settings.lake.start_hour or hour, hour), int(end_of(hour).timestamp() * 1000)
    curves = [found for found in figures if found.name.startswith(_CURVES) and found.slice in ("all", GATE_FOLD)]
    points = [Point(metric_key(found), found.value, at, step) for found in curves]
    if points:
        call(settings, lambda client: client.log_batch(_run(client, settings), metrics=points))


def _run(client: "MlflowClient", settings: Settings) -> str:
    """The root's run, begun where there is none. It stands as finished: nothing waits for it."""
    experiment, tags = experiment_id(client, settings), run_tags(settings, KIND, "")
    found = client.search_runs([experiment], f"tags.kind = '{KIND}' and tags.root = '{tags['root']}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    kept = {name: tags[name] for name in ("lineage", "root", "seed", "reward_version")}
    about = {"kind": KIND, "mlflow.note.content": _ABOUT}
    run = client.create_run(experiment, tags=kept | about, run_name=f"lineage of {settings.domain} {tags['root']}")
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)
