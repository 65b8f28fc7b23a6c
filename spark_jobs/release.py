"""What a draw goes by: the models in force, and the hour's sizes and rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.artifacts import load_policy, load_ranker
from models.policies.base import SlatePolicy
from models.ranker import Ranker
from spark_jobs.business_rules import BusinessRules


@dataclass(frozen=True)
class Release:
    """The models that are in force, loaded, and what a reaction of each task pays."""

    release_id: str
    ranker: Ranker
    policy: SlatePolicy
    task_rewards: tuple[float, ...]

    @property
    def best_reward(self) -> float:
        """What an impression pays when every rewarded reaction is certain."""
        return sum(max(reward, 0.0) for reward in self.task_rewards)


@dataclass(frozen=True)
class DrawRules:
    """Sizes and rules of a draw; ``hour_number`` and ``seed`` make it repeatable."""

    at: datetime
    hour_number: int
    seed: int
    size: int
    retrieved: int
    candidates: int
    explore_share: float
    seen_days: int
    fresh_hours: int
    business: BusinessRules


def load_release(folder: str | Path, release_id: str, task_rewards: Sequence[float]) -> Release:
    """From ``<folder>/ranker`` and ``<folder>/policy``; scoring needs no registry."""
    path = Path(folder)
    return Release(release_id, load_ranker(path / "ranker"), load_policy(path / "policy"), tuple(task_rewards))
