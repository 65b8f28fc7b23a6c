"""### Does the loop hold its objectives

Late in every hour, when its chain has long begun: compares the ages of tables and the newest hour's figures with `objectives` of the
settings, by the clock, so that a loop that stands still is seen too. A broken objective fails this run with a sentence for each, and stops
nothing: what your Airflow does about failed runs happens. The same as `recloop check-objectives`.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import dag_arguments

from pipelines.settings import load_settings

LATE = "50 * * * *" if load_settings().airflow.schedule == "hourly" else None  # by hand where the hours are

with DAG("check_objectives", schedule=LATE, **dag_arguments(__doc__, "data-engineering", "monitoring")):

    @task(execution_timeout=timedelta(minutes=5))
    def check():
        from pipelines.registry.objectives_now import check_objectives

        return check_objectives(load_settings())

    check()
