"""### The ranker learns the hour

Tests production on the hour before anything learns from it, fine-tunes the newest ranker on the hour's examples and a replay
sample, and registers a candidate in MLflow. Hours missed before are learned in one ordered pass. Emits `ranker_candidate`.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import FEATURES, RANKER_CANDIDATE, dag_arguments, hour_of, run_step

with DAG("finetune_ranker", schedule=hour_of(FEATURES), **dag_arguments(__doc__, "data-science", "gpu")):

    @task(outlets=[RANKER_CANDIDATE], pool="gpu", execution_timeout=timedelta(minutes=50))
    def ranker_of_hour(dag_run=None):
        from pipelines.steps.finetune_ranker import run

        return run_step(run, dag_run)

    ranker_of_hour()
