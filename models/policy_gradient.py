"""The maths of learning a Plackett-Luce policy from logged prefixes: weights, loss, divergence, entropy.

Letters: S slates, C candidates, K positions.
"""

import torch
from torch import Tensor

from models.records import LoggedSlates
from models.slates import conditional_log_probs, remaining_logits


def prefix_weights(target_log_probs: Tensor, behavior_propensity: Tensor, shown: Tensor) -> Tensor:
    """W_{1:k} = product over j <= k of target / behavior probability; 0 where not shown. Shapes (S, K)."""
    behavior = torch.where(shown, behavior_propensity, torch.ones_like(behavior_propensity))
    target = torch.where(shown, target_log_probs, torch.zeros_like(target_log_probs))
    return (target - behavior.log()).cumsum(-1).exp() * shown


def mean_reward_per_position(slates: LoggedSlates) -> Tensor:
    """Baseline b_k (K,): mean reward of the positions shown."""
    total = torch.where(slates.shown, slates.reward, torch.zeros_like(slates.reward)).sum(0)
    return total / slates.shown.sum(0).clamp(min=1)


def reinforce_loss(logits: Tensor, slates: LoggedSlates, baseline: Tensor, weight_cap: float) -> Tensor:
    """Minus the surrogate whose gradient is sum_k W_{1:k} (r_k - b_k) sum_{j<=k} grad log pi(a_j | prefix), a slate.

    logits: (S, C) of the learning policy; baseline: (K,). W is capped and carries no gradient. A reaction at position
    k depends on the items down to k, hence prefixes; Chen et al.'s (2019) top-K factor would correct twice here.
    """
    log_probs = conditional_log_probs(logits, slates.action, slates.limits)
    weights = prefix_weights(log_probs.detach(), slates.propensity, slates.shown).clamp(max=weight_cap)  # (S, K)
    prefix_log_probs = torch.where(slates.shown, log_probs, torch.zeros_like(log_probs)).cumsum(-1)
    reward = torch.where(slates.shown, slates.reward - baseline, torch.zeros_like(slates.reward))
    return -(weights * reward * prefix_log_probs).sum(-1).mean()


def independent_loss(logits: Tensor, slates: LoggedSlates, weight_cap: float) -> Tensor:
    """Minus the surrogate of a set of K independent draws, a draw: w K (1 - pi(a))^(K-1) r log pi(a), w = pi / behavior (Chen et al. 2019).

    Its gradient is that of the expected reward of the set, where each item that is in it pays once. A baseline would move it: how many
    different items a set holds depends on the policy.
    """
    log_probs = logits.log_softmax(-1).gather(-1, slates.action)  # (S, K)
    chance = log_probs.detach().exp()
    behavior = torch.where(slates.shown, slates.propensity, torch.ones_like(slates.propensity))
    weights = (chance / behavior).clamp(max=weight_cap)
    size = slates.action.shape[-1]
    reward = torch.where(slates.shown, slates.reward, torch.zeros_like(slates.reward))
    per_draw = weights * size * (1 - chance) ** (size - 1) * reward * torch.where(slates.shown, log_probs, torch.zeros_like(log_probs))
    return -per_draw.sum() / slates.shown.sum().clamp(min=1)


def slate_kl(start_logits: Tensor, new_logits: Tensor, slates: LoggedSlates) -> Tensor:
    """KL(start || new) of each slate in nats (S,), summed over the shown positions along the logged prefix."""
    terms = []
    start, new = (remaining_logits(logits, slates.action, slates.limits) for logits in (start_logits, new_logits))
    for start_left, new_left in zip(start, new, strict=True):
        start_log_probs = start_left.log_softmax(-1)  # (S, C)
        terms.append((start_log_probs.exp() * (start_log_probs - new_left.log_softmax(-1))).sum(-1))
    return (torch.stack(terms, dim=-1) * slates.shown).sum(-1).clamp(min=0)


def expected_squares(target_logits: Tensor, slates: LoggedSlates) -> Tensor:
    """Squared prefix weight of the target, (S, K), as the logging policy's draws would have it on average along the logged prefix.

    The product over j <= k of sum_a target(a)^2 / behavior(a); 0 where not shown.
    """
    terms, both = [], (target_logits, slates.behavior_logits.double())
    target, behavior = (remaining_logits(logits, slates.action, slates.limits) for logits in both)
    for target_left, behavior_left in zip(target, behavior, strict=True):
        terms.append((2 * target_left.log_softmax(-1) - behavior_left.log_softmax(-1)).logsumexp(-1))
    return torch.stack(terms, dim=-1).cumsum(-1).exp() * slates.shown


def slate_entropy(logits: Tensor, slates: LoggedSlates) -> Tensor:
    """Entropy of each slate in nats (S,), summed over the shown positions along the logged prefix."""
    terms = []
    for left in remaining_logits(logits, slates.action, slates.limits):
        log_probs = left.log_softmax(-1)  # (S, C)
        terms.append(-(log_probs.exp() * log_probs.clamp(min=-100.0)).sum(-1))
    return (torch.stack(terms, dim=-1) * slates.shown).sum(-1)
