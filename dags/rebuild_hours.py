"""### Rebuild derived tables

Makes increments, training examples, embeddings and caches of a range of hours again from impressions, feedback and items. Sources
stay as they are; no slate is drawn, no release moves, no model learns. By hand, with `first` and `last`; as long as `dry_run` is on it
only says what would change. The same as `recloop rebuild --from H --to H [--dry-run]`.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task
from loop_dags import dag_arguments

HOUR = r"^\d{4}-\d{2}-\d{2}T\d{2}$"
PARAMS = {
    "first": Param("2026-01-01T00", type="string", pattern=HOUR, description="First hour, UTC."),
    "last": Param(None, type=["null", "string"], pattern=HOUR, description="Last hour, included; empty: the newest."),
    "dry_run": Param(True, type="boolean", description="Only say which hours, rows and versions would change."),
}

with DAG("rebuild_hours", schedule=None, params=PARAMS, **dag_arguments(__doc__, "data-engineering", "spark")):

    @task(pool="spark", execution_timeout=timedelta(hours=6))
    def rebuild(params=None):
        from pipelines.settings import load_settings
        from pipelines.steps import rebuild as again

        settings = load_settings()
        hours = again.hours_to_rebuild(settings, params["first"], params["last"])
        if params["dry_run"]:
            planned = "; ".join(f"{part.table} {part.rows} rows, version {part.version}" for part in again.plan(settings, hours))
            return f"would make {len(hours)} hours again: {planned}"
        return again.run(settings, hours).detail

    rebuild()
