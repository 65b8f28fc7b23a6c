"""Rewards: what the ranker's probabilities are worth, and what a session was worth."""

from collections.abc import Sequence

import torch
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


def session_returns(reward: Tensor, following: Tensor, discount: float) -> tuple[Tensor, Tensor]:
    """Discounted return (n,) of each session, and the row of the slate that it begins with (n,).

    reward: (S,); following: (S,) row of the session's next slate, -1 at its end. One slate later a reward counts ``discount``.
    """
    goes_on = following >= 0
    begins = torch.ones(len(reward), dtype=torch.bool)
    begins[following[goes_on]] = False
    place = begins.nonzero().squeeze(1)
    total, factor, first = torch.zeros(len(place), dtype=reward.dtype), 1.0, place
    there = torch.ones(len(place), dtype=torch.bool)
    while there.any():
        total[there] += factor * reward[place[there]]
        place = torch.where(there, following[place], place)
        there, factor = there & (place >= 0), factor * discount
    return total, first
