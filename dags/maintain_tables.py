"""### Maintenance of the tables

Once a day: drops the hours that are past each table's retention, makes few files of many small ones, and removes files and log
entries that no version of the last 7 days needs; from MLflow go old runs and versions that were never in production or staging.
Readers pinned to such a version go on; writers wait at the root's lock. By hand: `recloop maintain`, with `--dry-run` to see what
it would do.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import dag_arguments, every_day

with DAG("maintain_tables", schedule=every_day(), **dag_arguments(__doc__, "data-engineering", "spark")):

    @task(pool="spark", execution_timeout=timedelta(minutes=50))
    def maintain():
        from pipelines.settings import load_settings
        from pipelines.steps.maintain_tables import run

        return run(load_settings()).detail

    maintain()
