"""The value of a policy from slates that other policies showed.

Letters: S slates, C candidates, K positions, U users, G logging policies. The target is valued on the logged candidates. Where several
policies drew the log, the slates of each count by how much they tell of the target (Agarwal et al. 2017): those of a policy far from it
would else drown, by few large weights, what is known from those of a near one.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ope.intervals import bootstrap_t_of_ratios
from models.policy_gradient import expected_squares, prefix_weights
from models.records import LoggedSlates, PolicyValue
from models.slates import conditional_log_probs, remaining_logits

__all__ = [
    "cascade_doubly_robust", "difference", "effective_share", "evidence_weights", "last_shown_weights", "prefix_weights",
    "propensity_audit", "recomputed_propensities", "reference_weights", "reward_interaction_ips", "value",
]  # fmt: skip

REFERENCE = 0.9  # the audit's reference policy: the behavior logits times this


def reward_interaction_ips(slates: LoggedSlates, target_logits: Tensor, self_normalized: bool = False) -> Tensor:
    """Reward-interaction IPS (McInerney et al. 2020): sum_k W_{1:k} r_k of each slate (S,).

    Assumes that a reaction depends on the items down to its position, not on those below. `self_normalized` divides
    the weights of each position by their mean over the slates that showed it: a little bias for less variance.
    """
    weights = _target_weights(slates, target_logits)  # (S, K)
    if self_normalized:
        shown = slates.shown.sum(0).clamp(min=1)
        weights = weights / (weights.sum(0) / shown).clamp(min=1e-12)
    reward = torch.where(slates.shown, slates.reward, torch.zeros_like(slates.reward))
    return (weights * reward).sum(-1)


def cascade_doubly_robust(slates: LoggedSlates, target_logits: Tensor, predicted: Tensor) -> Tensor:
    """Cascade doubly robust (Kiyohara et al. 2022): the reward (S,) of each slate under the target policy.

    predicted: (S, C) what each candidate earns where it is looked at, up to a factor, by a model that did not learn from these slates. A
    factor a position, and what the positions below it earn on average, are taken from the slates themselves. Unbiased for any prediction
    where a reaction depends on the items down to its position; a good one leaves less to the weights.
    """
    weights = _target_weights(slates, target_logits).double()  # (S, K)
    before = torch.cat([torch.ones_like(weights[:, :1]), weights[:, :-1]], dim=1)
    shown, reward = slates.shown, torch.where(slates.shown, slates.reward, torch.zeros_like(slates.reward)).double()
    predicted = torch.where(slates.mask, predicted, torch.zeros_like(predicted)).double()
    chosen = predicted.gather(1, slates.action)  # (S, K)
    expected = torch.stack([
        (left.double().softmax(1) * predicted).sum(1) for left in remaining_logits(target_logits, slates.action, slates.limits)
    ], dim=1)  # fmt: skip
    factor = reward.sum(0) / (chosen * shown).sum(0).clamp(min=1e-12)  # (K,)
    level = expected[:, :1] / expected[:, 0].mean().clamp(min=1e-12)  # (S, 1) how much this slate is expected to earn, over the usual
    below = level * (reward.sum(0).flip(0).cumsum(0).flip(0) - reward.sum(0)) / max(1, len(slates))  # (S, K)
    return ((before * (factor * expected + below) + weights * (reward - factor * chosen - below)) * shown).sum(1)


def value(
    slates: LoggedSlates, target_logits: Tensor, confidence: float = 0.95, seed: int = 7, resamples: int = 1000,
    predicted: Tensor | None = None,
) -> PolicyValue:  # fmt: skip
    """Mean reward a slate of the target policy with a bootstrap-t interval over users: by cascade-DR, by RIPS without a prediction.

    The mean is over the slates, each with its ``evidence_weights``.
    """
    return _summary(slates, target_logits, _per_slate(slates, target_logits, predicted), confidence, seed, resamples)


def difference(
    slates: LoggedSlates, target_logits: Tensor, base_logits: Tensor, confidence: float = 0.95, seed: int = 7, resamples: int = 1000,
    predicted: Tensor | None = None,
) -> PolicyValue:  # fmt: skip
    """Value of the difference target - base, slate by slate; sample size and weights are the target's. Otherwise as ``value``."""
    per_slate = _per_slate(slates, target_logits, predicted) - _per_slate(slates, base_logits, predicted)
    return _summary(slates, target_logits, per_slate, confidence, seed, resamples)


def _per_slate(slates: LoggedSlates, target_logits: Tensor, predicted: Tensor | None) -> Tensor:
    if predicted is None:
        return reward_interaction_ips(slates, target_logits)
    return cascade_doubly_robust(slates, target_logits, predicted)


def recomputed_propensities(slates: LoggedSlates) -> Tensor:
    """(S, K) float64: what each propensity must be by the kept draw."""
    return conditional_log_probs(slates.behavior_logits.double(), slates.action, slates.limits).exp()


def reference_weights(slates: LoggedSlates) -> Tensor:
    """(S, K) prefix weights of the audit's reference policy over the logged propensities; their mean is 1 at each position."""
    return _target_weights(slates, slates.behavior_logits * REFERENCE)


def propensity_audit(slates: LoggedSlates) -> tuple[float, float, float]:
    """(largest error of a logged propensity, mean importance weight, its standard error).

    The error is against the propensity recomputed from the behavior logits. The weight is that of a reference policy,
    the behavior logits times 0.9, over the *logged* propensities down to the last shown position: prefix weights are a
    martingale, so their mean is 1 (within 3 standard errors) wherever the user stopped looking, if what was logged is
    what was drawn from. Weighing the recomputed behavior policy itself would give 1 by construction.
    """
    slates.check_propensities()
    errors = (recomputed_propensities(slates) - slates.propensity).abs()[slates.shown]
    weights = last_shown_weights(slates, slates.behavior_logits * REFERENCE).double()
    if errors.numel() == 0:
        return 0.0, math.nan, math.inf
    error_of_mean = weights.std().item() / math.sqrt(len(weights)) if len(weights) > 1 else math.inf
    return errors.max().item(), weights.mean().item(), error_of_mean


def bootstrap_t(
    per_slate: NDArray[np.float64], user: NDArray[np.int64], confidence: float, seed: int, resamples: int,
    counts: NDArray[np.float64] | None = None,
) -> tuple[float, float, float]:  # fmt: skip
    """(mean a slate, low, high), see `bootstrap_t_of_ratios`; counts: (S,) what each slate counts, by default 1."""
    _, user_row = np.unique(user, return_inverse=True)
    counts = np.ones(len(user)) if counts is None else counts
    sums = np.stack([np.bincount(user_row, part).astype(np.float64) for part in (per_slate * counts, counts)], 1)  # (U, 2)
    found = bootstrap_t_of_ratios(sums[:, None], np.ones(1), confidence, seed, resamples)
    return found.mean, found.low, found.high


def _target_weights(slates: LoggedSlates, target_logits: Tensor) -> Tensor:
    return prefix_weights(conditional_log_probs(target_logits, slates.action, slates.limits), slates.propensity, slates.shown)


def effective_share(slates: LoggedSlates, target_logits: Tensor) -> float:
    """Effective sample size over the number of slates, in (0, 1]; 0 without slates.

    RIPS weighs the reward at position k by the prefix down to k: (sum W)^2 / sum W^2 of each position over the slates that showed
    it, averaged by how much of the reward lies there. Slates count with their ``evidence_weights``.
    """
    return _effective_share(slates, target_logits, evidence_weights(slates, target_logits))


def _effective_share(slates: LoggedSlates, target_logits: Tensor, evidence: Tensor) -> float:
    weights = _target_weights(slates, target_logits).double() * evidence.unsqueeze(1)  # (S, K)
    kish = weights.sum(0).square() / weights.square().sum(0).clamp(min=1e-300) / slates.shown.sum(0).clamp(min=1)
    return float((kish * _reward_shares(slates)).sum())


def evidence_weights(slates: LoggedSlates, target_logits: Tensor) -> Tensor:
    """(S,) float64, mean 1: what a slate counts, in proportion to 1 / E[W^2] of the policy that drew it, the best mix of unbiased means.

    The squared prefix weights are those expected at the draws, averaged over positions by how much of the reward lies there: what was
    drawn hardly moves what a slate counts, so that no large weight takes itself out.
    """
    squares = expected_squares(target_logits.double(), slates)  # (S, K)
    empty = squares.new_zeros(int(slates.drawn_by.max()) + 1 if len(slates) else 0, squares.shape[1])  # (G, K)
    total, shown = (empty.index_add(0, slates.drawn_by, part) for part in (squares, slates.shown.double()))
    found = (shown / total.clamp(min=1e-300) * _reward_shares(slates)).sum(1)[slates.drawn_by]
    return found / found.mean().clamp(min=1e-300)


def _reward_shares(slates: LoggedSlates) -> Tensor:
    """(K,) float64: how much of the reward, by its size, lies at each position; of the showings where nothing paid."""
    reward = torch.where(slates.shown, slates.reward, torch.zeros_like(slates.reward)).double().abs().sum(0)
    reward = reward if reward.sum() > 0 else slates.shown.double().sum(0)
    return reward / reward.sum().clamp(min=1e-300)


def last_shown_weights(slates: LoggedSlates, target_logits: Tensor) -> Tensor:
    """Weight of the whole shown prefix of each slate that showed anything."""
    weights = _target_weights(slates, target_logits)  # (S, K)
    last = slates.shown.sum(-1) - 1
    return weights.gather(-1, last.clamp(min=0).unsqueeze(-1)).squeeze(-1)[last >= 0]


def _summary(
    slates: LoggedSlates, target_logits: Tensor, per_slate: Tensor, confidence: float, seed: int, resamples: int
) -> PolicyValue:
    slates.check_propensities()
    if len(slates) == 0:
        return PolicyValue(math.nan, -math.inf, math.inf, 0.0, 0.0, 0)
    evidence = evidence_weights(slates, target_logits)
    values, user, counts = (part.cpu().numpy() for part in (per_slate.double(), slates.user, evidence))
    mean, low, high = bootstrap_t(values, user, confidence, seed, resamples, counts)
    weights = last_shown_weights(slates, target_logits).double()
    size = _effective_share(slates, target_logits, evidence) * len(slates)
    return PolicyValue(mean, low, high, size, weights.max().item() if len(weights) else 0.0, len(slates))
