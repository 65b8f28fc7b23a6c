"""What a reaction is worth: one definition for ranker labels, policy reward and off-policy evaluation."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RewardTerm:
    """weight: value of one unit of the task's label; cap: labels above it count as the cap."""

    task: str
    weight: float
    cap: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.cap > 0):
            raise ValueError(
                f"reward of task {self.task!r} needs a finite weight and a cap above 0, "
                f"found weight {self.weight} and cap {self.cap}"
            )


@dataclass(frozen=True)
class RewardDefinition:
    """reward = sum over tasks of weight * min(label, cap); `version` goes onto every row that used it."""

    version: str
    terms: tuple[RewardTerm, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(term.task for term in self.terms)

    @property
    def task_rewards(self) -> tuple[float, ...]:
        """Weight of each task, in the order of the terms: what `expected_reward` multiplies probabilities with."""
        return tuple(term.weight for term in self.terms)

    def reward(self, labels: Any) -> Any:
        """labels: (..., T) tensor or array, tasks in the order of the terms. Returns (...) of the same kind."""
        if labels.shape[-1] != len(self.terms):
            raise ValueError(
                f"reward {self.version} has {len(self.terms)} tasks {self.tasks}, "
                f"found labels with {labels.shape[-1]} columns"
            )
        return sum(term.weight * labels[..., t].clip(max=term.cap) for t, term in enumerate(self.terms))
