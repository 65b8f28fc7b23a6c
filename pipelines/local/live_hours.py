"""Live hours: users act on the scores as they stand, Airflow runs the hour's DAGs, the ledger says when they are done."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from pipelines.errors import UserError
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import DONE, LedgerRow
from pipelines.local.airflow_client import DagRun
from pipelines.local.in_process import explained
from pipelines.local.logged_hours import is_decided
from pipelines.local.simulated_users import simulate
from pipelines.local.stages import Stage, Stages
from pipelines.local.summary import verdict
from pipelines.registry.releases import decision_for
from pipelines.settings import Settings

CHAIN = ("build_features", "score_users", "finetune_ranker", "refresh_policy", "promote_models")
WAITED_FOR = ("score_users", "promote_models")
PATIENCE_S = 600.0
POLL_S = 1.5


class Scheduler(Protocol):
    """What the demo asks of Airflow."""

    def trigger(self, dag: str, hour: str) -> None:
        """One run of the DAG for the partition ``hour``; its consumers follow by themselves."""

    def runs(self, hour: str) -> Sequence[DagRun]:
        """Every run for this hour, the newest last."""


def next_hours(settings: Settings, count: int) -> list[str]:
    """The ``count`` hours after the newest scored one; before them that one, where its decision is still missing."""
    newest = ledger.newest_hour(settings, "score_users")
    if newest is None:
        raise UserError(f"nothing is scored under {settings.home} yet; run `recloop demo`")
    first = newest if not is_decided(settings, newest) else shift(newest, 1)
    return hour_range(first, shift(newest, count))


def play_live_hour(settings: Settings, scheduler: Scheduler, hour: str, stages: Stages, title: str) -> None:
    """One hour through Airflow, to its scores and its release decision."""
    with stages.stage(title) as stage:
        stage.says("users act")
        played = explained(settings, f"simulate {hour}", partial(simulate, settings, [hour])).hours[0]
        before = {run.run_id for run in scheduler.runs(hour)}
        scheduler.trigger(CHAIN[0], hour)
        wait_for_hour(settings, scheduler, hour, stage, before)
        users = "users acted before" if played.already else f"{played.users:,} users, {played.impressions:,} impressions"
        stage.ends_with(f"{users}; {_times(settings, hour)}; {_decision(settings, hour)}")


def wait_for_hour(
    settings: Settings, scheduler: Scheduler, hour: str, stage: Stage, before: set[str], patience_s: float = PATIENCE_S
) -> None:
    """Until the ledger has the hour's scores and decision. Raises UserError where a run fails or patience ends."""
    deadline = time.monotonic() + patience_s
    while True:
        rows = ledger.rows(settings, hour=hour)
        finished = {row.step for row in rows if row.status in DONE}
        if finished.issuperset(WAITED_FOR):
            return
        runs = [run for run in scheduler.runs(hour) if run.run_id not in before]
        if failed := [run for run in runs if run.state == "failed"]:
            raise UserError(_failure(rows, failed[0], hour))
        missing = [step for step in WAITED_FOR if step not in finished]
        if time.monotonic() > deadline:
            raise UserError(_timeout(runs, missing, hour, patience_s))
        stage.says(_progress(finished, runs))
        time.sleep(POLL_S)


def _progress(finished: set[str], runs: Sequence[DagRun]) -> str:
    states = {run.dag: run.state for run in runs}
    return " · ".join(f"{dag} {'✓' if dag in finished else states.get(dag, '…')}" for dag in CHAIN)


def _failure(rows: Sequence[LedgerRow], run: DagRun, hour: str) -> str:
    details = [row.detail for row in rows if row.status == "failed" and row.detail]
    reason = details[-1].splitlines()[0] if details else "no step of it came to the ledger"
    return f"{run.dag} failed for hour {hour} ({run.run_id}): {reason}; see {run.log}, mend the cause and run `recloop demo` again"


def _timeout(runs: Sequence[DagRun], missing: Sequence[str], hour: str, patience_s: float) -> str:
    states = ", ".join(f"{run.dag} {run.state} ({run.run_id})" for run in runs) or "no DAG run"
    log = f"; see {runs[-1].log}" if runs else ""
    return f"hour {hour}: no {' and no '.join(missing)} after {patience_s:.0f} s, found {states}{log}; run `recloop demo` again to go on"


def _times(settings: Settings, hour: str) -> str:
    """Seconds of each finished step; those of features begin with the hour's ingest."""
    rows = {row.step: row for row in ledger.rows(settings, hour=hour) if row.status in DONE}
    began = {step: row.started_at for step, row in rows.items()} | {CHAIN[0]: rows["ingest"].started_at if "ingest" in rows else None}
    seconds = {step: (rows[step].ended_at - start).total_seconds() for step in CHAIN if step in rows and (start := began[step])}
    return ", ".join(f"{step} {value:.0f} s" for step, value in seconds.items())


def _decision(settings: Settings, hour: str) -> str:
    row = decision_for(settings, hour)
    return f"{row.release_id} {verdict(row)}" if row else "no decision of its own"
