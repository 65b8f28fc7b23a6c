"""### Full retrain of the ranker

Once a week: trains a ranker from scratch on all examples up to the newest learned hour, and says what the hourly lineage has lost
against it (AUC per user on the last day and on 30 days). A loss that is shown fails the release gates until the lineage goes on from a
retrain: `adopt`. The hourly DAGs run on meanwhile, so this one takes no place in their pools. By hand: `recloop retrain`.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, task
from loop_dags import dag_arguments, every_week

HOUR = r"^\d{4}-\d{2}-\d{2}T\d{2}$"
PARAMS = {
    "hour": Param(None, type=["null", "string"], pattern=HOUR, description="Last hour to learn, UTC; empty: the newest learned one."),
    "processes": Param(1, type="integer", minimum=1, description="Processes that learn as one."),
    "adopt": Param(False, type="boolean", description="Let the lineage go on from the retrain."),
}

with DAG("retrain_ranker", schedule=every_week(), params=PARAMS, **dag_arguments(__doc__, "data-science", "ranker")):

    @task(execution_timeout=timedelta(hours=12))
    def retrain(params=None):
        from pipelines.settings import load_settings
        from pipelines.steps import adopt_retrain, retrain_ranker

        settings = load_settings()
        found = [retrain_ranker.run(settings, params["hour"], params["processes"])]
        found += [adopt_retrain.run(settings)] if params["adopt"] else []
        return "; ".join(f"{outcome.status}: {outcome.detail}" for outcome in found)

    retrain()
