"""Utilities of rewards: what the ranker's probabilities are worth."""

from collections.abc import Sequence

from torch import Tensor


def expected_reward(logits: Tensor, task_rewards: Sequence[float]) -> Tensor:
    """Utility: sum over tasks of reward * probability. logits: (..., T). Returns (...)."""
    if logits.shape[-1] != len(task_rewards):
        raise ValueError(f"the ranker has {logits.shape[-1]} tasks, found {len(task_rewards)} task rewards")
    return logits.sigmoid() @ logits.new_tensor(list(task_rewards))


def reward_log_odds(reward: Tensor, best: float) -> Tensor:
    """log(r / (best - r)) of an expected reward in 0..best: what calibration scales and shifts, but hardly reorders or reshapes."""
    share = (reward / best).clamp(1e-6, 1 - 1e-6)
    return share.log() - (-share).log1p()
