"""### A challenger for staging

Once a week production's own weights with another seed (`same`) go to staging like any challenger: whoever tells them from production has
found a false alarm, and every difference can be read in units of that noise. By hand, the last full retrain (`retrain`) challenges
production: shown to some of the users, refreshed every hour, promoted if it is better. The same as `recloop stage SOURCE --reason …`.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task
from loop_dags import dag_arguments, every_week

PARAMS = {
    "source": Param("same", enum=["same", "retrain"], description="What challenges production."),
    "reason": Param("weekly A/A", type="string", description="Why; kept with the row."),
}

with DAG("stage_challenger", schedule=every_week(), params=PARAMS, **dag_arguments(__doc__, "data-science", "releases")):

    @task(pool="gpu", execution_timeout=timedelta(minutes=10))
    def stage(params=None):
        from pipelines.settings import load_settings
        from pipelines.steps.challengers import begin

        return f"{begin(load_settings(), params['source'], params['reason']).lineage} waits for staging"

    stage()
