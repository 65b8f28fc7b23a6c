"""### What the hour looks like from outside

Drift of features, scores and labels, age of every table, fallbacks, coverage and reward go into `metrics`. A broken objective is a
warning in the task's log, a line of its returned value, and a message to `objectives.webhook`, once. The run succeeds all the same: drift
and objectives annotate and stop nothing. While the loop stands still no run comes: `recloop check-objectives` is for cron.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import SCORES, dag_arguments, hour_of, run_step

with DAG("monitor_hour", schedule=hour_of(SCORES), **dag_arguments(__doc__, "data-engineering", "monitoring")):

    @task(execution_timeout=timedelta(minutes=10))
    def objectives_of_hour(dag_run=None):
        from pipelines.steps.monitor_hour import run

        return run_step(run, dag_run)

    objectives_of_hour()
