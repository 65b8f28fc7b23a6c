"""### Features of the hour

Takes what landed in the hour into `impressions` and `feedback` (what it refuses goes to `quarantine`), builds the training
examples, moves the counters of users and items one hour on, and encodes new item texts.

Missing earlier hours are brought in first. A rerun of a finished hour changes nothing. Emits `features` for the hour.
By hand: trigger it with the hour as partition key, for example `2026-11-23T20`.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import FEATURES, dag_arguments, every_hour, run_step

with DAG("build_features", schedule=every_hour(), **dag_arguments(__doc__, "data-engineering", "spark")):

    @task(outlets=[FEATURES], pool="spark", execution_timeout=timedelta(minutes=50))
    def features_of_hour(dag_run=None):
        from pipelines.steps.build_features import run

        return run_step(run, dag_run)

    features_of_hour()
