"""One loop hour without Airflow: the steps of the six DAGs, in their order, in one process."""

from collections.abc import Callable, Sequence

from pipelines.registry.releases import production_before
from pipelines.settings import Settings
from pipelines.steps import build_features, finetune_ranker, monitor_hour, promote_models, refresh_policy, score_users
from pipelines.steps.step import Outcome

Step = Callable[[Settings, str], Outcome]
SERVING: Sequence[Step] = (score_users.run, monitor_hour.run)
LEARNING: Sequence[Step] = (finetune_ranker.run, refresh_policy.run, promote_models.run)


def run_hour(settings: Settings, hour: str) -> list[Outcome]:
    """All steps of the hour. Where no release is in force yet, the first one is trained before anything is scored."""
    outcomes = [build_features.run(settings, hour)]
    bootstrap = production_before(settings, hour) is None
    order = (*LEARNING, *SERVING) if bootstrap else (*SERVING, *LEARNING)
    return outcomes + [step(settings, hour) for step in order]
