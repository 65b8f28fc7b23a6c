"""### Roll production back

Puts an earlier release back, its models and the scored table together: `releases` gets a row, `scores` the slates that were drawn
before what is taken out, MLflow's aliases follow. By hand, with a reason; `to` names the release, empty: the one before. As long as
`dry_run` is on it only says what is in production and what would be. The same as `recloop rollback [--to RELEASE] --reason …`.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task
from loop_dags import dag_arguments

PARAMS = {
    "to": Param(None, type=["null", "string"], pattern=r"^r\d{6}$", description="Release to go back to; empty: the one before."),
    "reason": Param("", type="string", description="Why; kept with the row."),
    "dry_run": Param(True, type="boolean", description="Only say what would be put back."),
}

with DAG("roll_back_release", schedule=None, params=PARAMS, **dag_arguments(__doc__, "data-science", "releases")):

    @task(pool="spark", execution_timeout=timedelta(minutes=10))
    def roll_back(params=None):
        from pipelines.settings import load_settings
        from pipelines.steps import moves
        from pipelines.steps import roll_back as back

        settings = load_settings()
        if params["dry_run"]:
            now, then = moves.roll_back_target(settings, params["to"])
            return f"in production: {now.release_id}, since {now.since}; would be put back: {then.release_id}, of {then.hour}"
        row = back.run(settings, params["reason"], params["to"])
        return f"{row.release_id}: {'; '.join(row.reasons)}"

    roll_back()
