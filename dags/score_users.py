"""### The scored table of the hour

Draws a slate for every user with the release in force, logs it in `slate_log`, and publishes `scores`. Needs neither MLflow nor
the hour's training. An hour older than the published one is superseded. Emits `scores` for the hour.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import FEATURES, SCORES, dag_arguments, hour_of, run_step

with DAG("score_users", schedule=hour_of(FEATURES), **dag_arguments(__doc__, "data-engineering", "spark")):

    @task(outlets=[SCORES], pool="spark", execution_timeout=timedelta(minutes=30))
    def scores_of_hour(dag_run=None):
        from pipelines.steps.score_users import run

        return run_step(run, dag_run)

    scores_of_hour()
