"""Airflow's REST interface as the loop uses it: one run for a partition, the runs of an hour, what is parsed and healthy."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from pipelines.errors import UserError

TIMEOUT_S = 30
FINISHED = ("success", "failed")


@dataclass(frozen=True)
class DagRun:
    """A run of a DAG for one hour; ``log`` names where its tasks write."""

    dag: str
    run_id: str
    state: str
    log: str


@dataclass(frozen=True)
class Waiting:
    """A partition that has no run yet (``pending``), or a run that has not ended."""

    dag: str
    hour: str
    state: str
    since: str


@dataclass(frozen=True)
class AirflowAccess:
    """Address and log-in of an Airflow, and what is asked of it."""

    url: str
    user: str
    password: str
    logs: Path

    def trigger(self, dag: str, hour: str) -> None:
        """One run of the DAG for the partition ``hour``; its consumers follow by themselves."""
        self._ask("POST", f"dags/{dag}/dagRuns", {"logical_date": None, "partition_key": hour})

    def runs(self, hour: str) -> Sequence[DagRun]:
        """Every run for this hour, the newest last."""
        answer = self._ask("GET", f"dags/~/dagRuns?partition_key_prefix_pattern={hour}&order_by=id&limit=100")
        return [self._run(run) for run in answer["dag_runs"] if run["partition_key"] == hour]

    def wait(self, hour: str, dags: Sequence[str], patience_s: float) -> Sequence[DagRun]:
        """The hour's runs once each of the DAGs has finished one. Raises UserError where patience ends before."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            runs = self.runs(hour)
            if {run.dag for run in runs if run.state in FINISHED}.issuperset(dags):
                return runs
            time.sleep(1.0)
        states = {run.dag: run.state for run in self.runs(hour)}
        raise UserError(f"Airflow did not finish {', '.join(dags)} for {hour} within {patience_s:.0f} s; found {states}; see {self.logs}")

    def pending(self) -> Sequence[Waiting]:
        """Partitions that have events and no run. Airflow shows them to its own pages alone, not in ``api/v2``."""
        answer = self._ask("GET", "partitioned_dag_runs?has_created_dag_run_id=false", root="ui")
        return [Waiting(run["dag_id"], run["partition_key"], "pending", run["created_at"]) for run in answer["partitioned_dag_runs"]]

    def unfinished(self, before: datetime) -> Sequence[Waiting]:
        """Partitions whose run should have begun before this instant and has not ended."""
        answer = self._ask("GET", f"dags/~/dagRuns?state=queued&state=running&run_after_lte={quote(before.isoformat())}&limit=100")
        runs = [run for run in answer["dag_runs"] if run["partition_key"]]
        return [Waiting(run["dag_id"], run["partition_key"], run["state"], run["run_after"]) for run in runs]

    def dag_ids(self) -> set[str]:
        """DAGs that Airflow has parsed."""
        return {dag["dag_id"] for dag in self._ask("GET", "dags?limit=100")["dags"]}

    def import_errors(self) -> Sequence[str]:
        """The last line of each DAG file's error."""
        errors = self._ask("GET", "importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def create_pool(self, name: str, slots: int, description: str) -> None:
        """The pool, where there is none of this name yet."""
        pools = {pool["name"] for pool in self._ask("GET", "pools?limit=100")["pools"]}
        if name not in pools:
            self._ask("POST", "pools", {"name": name, "slots": slots, "description": description, "include_deferred": False})

    def is_healthy(self) -> bool:
        """Whether database, scheduler and DAG processor work."""
        try:
            answer = requests.get(f"{self.url}/api/v2/monitor/health", timeout=TIMEOUT_S)
        except requests.RequestException:
            return False
        parts = answer.json() if answer.ok else {}
        return all(parts.get(name, {}).get("status") == "healthy" for name in ("metadatabase", "scheduler", "dag_processor"))

    def _run(self, run: dict[str, Any]) -> DagRun:
        folder = self.logs / f"dag_id={run['dag_id']}" / f"run_id={run['dag_run_id']}"
        return DagRun(run["dag_id"], run["dag_run_id"], run["state"], str(folder))

    @cached_property
    def _token(self) -> str:
        answer = requests.post(f"{self.url}/auth/token", json={"username": self.user, "password": self.password}, timeout=TIMEOUT_S)
        if not answer.ok:
            raise UserError(f"Airflow at {self.url} refused the log-in of {self.user} ({answer.status_code}); run `recloop down` and `up`")
        return str(answer.json()["access_token"])

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, root: str = "api/v2") -> dict[str, Any]:
        try:
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = requests.request(method, f"{self.url}/{root}/{path}", headers=headers, json=body, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            raise UserError(f"Airflow at {self.url} does not answer ({type(error).__name__}); start it with `recloop up`") from None
        if not answer.ok:
            raise UserError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text[:300]}")
        values: dict[str, Any] = answer.json()
        return values
