"""What the loop's DAGs share: the assets that link them, their schedule, and how a task runs a step of the hour."""

import signal
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    Asset,
    CronPartitionTimetable,
    ExceptionRetryPolicy,
    PartitionedAssetTimetable,
    PartitionedAtRuntime,
    RetryAction,
    RetryRule,
)

from pipelines.hours import HOUR_FORMAT
from pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    from pipelines.steps.step import Outcome

FEATURES = Asset("features")
SCORES = Asset("scores")
RANKER_CANDIDATE = Asset("ranker_candidate")
POLICY_CANDIDATE = Asset("policy_candidate")
DECISION = Asset("release_decision")

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule("pipelines.errors.TransientError", RetryAction.RETRY),
        RetryRule("pipelines.errors.UserError", RetryAction.FAIL, reason="bad input is the same at the next try"),
    ]
)
RETRIES = {
    "retries": 2, "retry_delay": timedelta(seconds=20), "retry_exponential_backoff": 3.0, "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RETRY_POLICY,
}  # fmt: skip


def every_hour() -> CronPartitionTimetable | PartitionedAtRuntime:
    """The hour just ended, after the grace period; or, for demos and replays, the partitions that REST names."""
    airflow = load_settings().airflow
    if airflow.schedule == "manual":
        return PartitionedAtRuntime()
    return CronPartitionTimetable(f"{airflow.grace_minutes} * * * *", timezone="UTC", run_offset=-1, key_format=HOUR_FORMAT)


def every_day() -> str | None:
    """Before dawn, between two hours' chains; only by hand where the hours are."""
    return "45 3 * * *" if load_settings().airflow.schedule == "hourly" else None


def every_week() -> str | None:
    """Sunday before dawn, after the tables' maintenance; only by hand where the hours are."""
    return "15 5 * * 0" if load_settings().airflow.schedule == "hourly" else None


def hour_of(asset: Asset) -> PartitionedAssetTimetable:
    """A run for each hour of the asset. A plain asset schedule would never be triggered by a partitioned asset."""
    return PartitionedAssetTimetable(assets=asset)


def dag_arguments(doc: str | None, owner: str, *tags: str) -> dict[str, Any]:
    """Arguments that all DAGs of the hour have."""
    default = {"owner": owner, **RETRIES}
    return {"doc_md": doc, "default_args": default, "tags": ["recloop", *tags], "catchup": False, "max_active_runs": 1}


def run_step(step: "Callable[[Settings, str], Outcome]", dag_run: Any) -> str:
    """Runs the step for the run's hour: its partition, or ``hour`` of its configuration. A TERM ends the step as an error would."""
    signal.signal(signal.SIGTERM, _end)
    outcome = step(load_settings(), dag_run.partition_key or dag_run.conf["hour"])
    return f"{outcome.status}: {outcome.detail}"


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
