"""### The policy learns from shown slates

Refreshes the slate policy by off-policy corrected REINFORCE on logged slates, values it off-policy against production, and
registers a candidate for the hour's ranker. Runs for the newest hour only. Emits `policy_candidate`.
"""

from datetime import timedelta

from airflow.sdk import DAG, task
from loop_dags import POLICY_CANDIDATE, RANKER_CANDIDATE, dag_arguments, hour_of, run_step

with DAG("refresh_policy", schedule=hour_of(RANKER_CANDIDATE), **dag_arguments(__doc__, "data-science", "gpu")):

    @task(outlets=[POLICY_CANDIDATE], pool="gpu", execution_timeout=timedelta(minutes=50))
    def policy_of_hour(dag_run=None):
        from pipelines.steps.refresh_policy import run

        return run_step(run, dag_run)

    policy_of_hour()
