"""### One release decision an hour

Judges the hour's {encoder, ranker, policy} as composed against production, by the gates of `mlflow/promotion.yaml`: promote,
reject or abstain, with the figure that decided. One row in `releases`; the MLflow aliases follow it.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import DECISION, POLICY_CANDIDATE, dag_arguments, hour_of, run_step

with DAG("promote_models", schedule=hour_of(POLICY_CANDIDATE), **dag_arguments(__doc__, "data-science", "gpu")):

    @task(outlets=[DECISION], pool="gpu", execution_timeout=timedelta(minutes=20))
    def decision_of_hour(dag_run=None):
        from pipelines.steps.promote_models import run

        return run_step(run, dag_run)

    decision_of_hour()
