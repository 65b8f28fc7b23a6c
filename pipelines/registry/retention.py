"""What MLflow keeps of a root: some 3,600 runs a month are made, and those that led to nothing go when they are old."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING

from pipelines.registry.client import call
from pipelines.registry.flavors import KINDS
from pipelines.registry.lineage_run import KIND as LINEAGE_RUN
from pipelines.registry.provenance import run_tags
from pipelines.registry.releases import PRODUCTION, STAGING, all_releases
from pipelines.registry.runs import experiment_id
from pipelines.registry.versions import model_name, versions
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000


def prune_runs(settings: Settings, before: datetime) -> tuple[int, int]:
    """Deletes this root's versions and runs of before this time; how many of each. Raises RegistryDown.

    Kept: every version that was ever in production or in staging, with the run that made it, and the run of the whole lineage. What is
    deleted can be restored until `mlflow gc` takes its files.
    """
    root, released = run_tags(settings, "", "")["root"], _released(settings)
    kept_runs, old = set[str](), list[tuple[str, str]]()
    for kind in KINDS:
        for row in versions(settings, kind):
            if (kind, row.number) in released or row.created >= before or row.tags.get("root") != root:
                kept_runs.add(row.run_id)
            else:
                old.append((model_name(settings, kind), row.number))
    for name, number in old:
        call(settings, methodcaller("delete_model_version", name, number))
    runs = [run for run in _old_runs(settings, root, before) if run not in kept_runs]
    for run in runs:
        call(settings, methodcaller("delete_run", run))
    return len(old), len(runs)


def _released(settings: Settings) -> set[tuple[str, str]]:
    rows = [row for row in all_releases(settings) if row.stage in (PRODUCTION, STAGING)]
    return {(kind, number) for row in rows for kind, number in row.versions.items()}


def _old_runs(settings: Settings, root: str, before: datetime) -> Iterator[str]:
    """Ids of the root's runs that began before, but for that of its lineage."""
    condition = f"tags.root = '{root}' and attributes.start_time < {int(before.timestamp() * 1000)}"
    token: str | None = None
    while True:
        page, token = call(settings, partial(_page, settings, condition, token))
        yield from (run.info.run_id for run in page if run.data.tags.get("kind") != LINEAGE_RUN)
        if not token:
            return


def _page(settings: Settings, condition: str, token: str | None, client: "MlflowClient") -> "tuple[list[Run], str | None]":
    found = client.search_runs([experiment_id(client, settings)], condition, max_results=_PAGE, page_token=token)
    return list(found), found.token
