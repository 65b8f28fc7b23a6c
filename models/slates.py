"""Plackett-Luce slates: K items drawn without replacement, each by softmax over the candidates that are left.

Full categories are left out and pinned positions are not drawn. Letters: S slates, C candidates, K positions. Logits of masked
candidates are -inf.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.records import SlateLimits

_FLOOR = -1e30  # stands for -inf inside sums: keeps gradients finite where every candidate is taken
_CLOSED = _FLOOR / 2  # below it a candidate may not be drawn
TEMPERATURES = tuple(0.05 * 1.1**step for step in range(36))  # that are tried: .05 to 1.4


def bound_logits(utility: Tensor, mask: Tensor, temperature: float, logit_range: float = 7.0) -> Tensor:
    """Logits of the exploring policy: utility, standardized over the slate's candidates, by temperature.

    utility, mask: (..., C). Clipped from below at max - logit_range, the exploration floor: a Plackett-Luce policy
    cannot mix with a uniform one and stay Plackett-Luce. Returns (..., C), masked = -inf.
    """
    if temperature <= 0:
        raise ValueError(f"the slate temperature must be above 0, found {temperature}")
    return bound_range(standardized(utility, mask) / temperature, mask, logit_range)  # (..., C)


def exploring_temperature(
    utility: Tensor, reward: Tensor, mask: Tensor, size: int, cost: float, logit_range: float = 7.0, seed: int = 7, highest: float = 1.4
) -> tuple[float, float]:
    """The highest temperature at which slates of ``size`` cost at most this share of the expected reward of the best ones, and its cost.

    Up to ``highest``: a ranker that hardly tells its candidates apart takes any draw for cheap.

    utility, reward, mask: (S, C), the reward expected of each candidate, which utility orders. A low temperature costs too, where the logit
    range makes all but the first few alike: where no temperature is cheap enough, the cheapest.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = -(-torch.rand(utility.shape, generator=generator, dtype=torch.float64).log()).log()
    known = reward.masked_fill(~mask, 0.0).double()
    best = known.topk(size, dim=1).values.sum(1).mean().clamp(min=1e-12)
    costs, tried = [], [one for one in TEMPERATURES if one <= highest]
    for temperature in tried:
        drawn = (bound_logits(utility, mask, temperature, logit_range) + noise).topk(size, dim=1).indices
        costs.append(1 - (known.gather(1, drawn).sum(1).mean() / best).item())
    cheap = [place for place, found in enumerate(costs) if found <= cost]
    place = cheap[-1] if cheap else min(range(len(costs)), key=costs.__getitem__)
    return tried[place], costs[place]


def standardized(score: Tensor, mask: Tensor) -> Tensor:
    """(..., C) with mean 0 and standard deviation 1 over the slate's candidates, 0 where there is none."""
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    known = torch.where(mask, score, torch.zeros_like(score))
    centered = torch.where(mask, known - known.sum(-1, keepdim=True) / count, torch.zeros_like(score))
    return centered / (centered.square().sum(-1, keepdim=True) / count).sqrt().clamp(min=1e-6)


def bound_range(logits: Tensor, mask: Tensor, logit_range: float) -> Tensor:
    """Logits raised to at least max - logit_range over the valid candidates; masked = -inf. Shapes (..., C)."""
    highest = logits.masked_fill(~mask, _FLOOR).amax(-1, keepdim=True)
    return torch.maximum(logits, highest - logit_range).masked_fill(~mask, -torch.inf)


def draw(logits: Tensor, noise: Tensor, limits: SlateLimits) -> tuple[Tensor, Tensor]:
    """A slate of K by Gumbel top-k (Kool et al. 2019), which is a Plackett-Luce draw; K is that of the limits.

    logits, noise: (S, C), noise standard Gumbel. Returns action (S, K) int64 and its propensity (S, K) given the items above: 1 for a
    pinned one. Positions beyond the candidates that may be shown have propensity 0: they are not shown. Which candidate has the highest
    perturbed logit among those that are left does not depend on how high it is, so taking the next one that is allowed is
    the renormalised draw.
    """
    size = limits.pinned.shape[-1]
    if logits.shape[-1] < size:
        raise ValueError(f"a slate of {size} needs at least {size} candidate columns, found {logits.shape[-1]}; pad and mask")
    keys, left, chosen = logits + noise, _Left(logits, limits), []
    for k in range(size):
        open_ = left.logits(k) > _CLOSED
        chosen.append(keys.masked_fill(~open_, -torch.inf).argmax(-1))
        left.take(chosen[-1])
    action = torch.stack(chosen, dim=-1)  # (S, K)
    propensity = conditional_log_probs(logits.double(), action, limits).exp()  # float32 sums would be off by up to 1e-6
    ended = (propensity <= 0).cumsum(1) > 0  # a pin below a position that stays empty is not shown either
    return action, propensity.masked_fill(ended, 0.0).to(logits.dtype)


def remaining_logits(logits: Tensor, action: Tensor, limits: SlateLimits) -> Iterator[Tensor]:
    """For each position the logits (S, C) of what may stand there below the items above it; what may not is _FLOOR."""
    left = _Left(logits, limits)
    for k in range(action.shape[-1]):
        yield left.logits(k)
        left.take(action[:, k])


class _Left:
    """The logits of what may still be drawn, position by position."""

    def __init__(self, logits: Tensor, limits: SlateLimits) -> None:
        self._free, self._limits = logits.clamp(min=_FLOOR), limits
        self._capped = bool((limits.category >= 0).any())
        self._used = torch.zeros_like(limits.category)  # (S, C) items of the candidate's category above
        pins = bool((limits.pinned >= 0).any())
        self._columns = torch.arange(logits.shape[1], device=logits.device)
        self._pinned = (limits.pinned.unsqueeze(2) == self._columns).any(1) if pins else None  # (S, C) at any position

    def logits(self, k: int) -> Tensor:
        """(S, C) at position k."""
        left = self._free
        if self._capped:
            left = left.masked_fill(self._used >= self._limits.cap, _FLOOR)
        if self._pinned is not None:
            here = self._limits.pinned[:, k : k + 1]  # (S, 1)
            only = self._free.masked_fill(self._columns != here, _FLOOR)
            left = torch.where(here >= 0, only, left.masked_fill(self._pinned, _FLOOR))
        return left

    def take(self, action: Tensor) -> None:
        """The candidate (S,) at the position that was asked for last."""
        column = action.unsqueeze(1)
        self._free = self._free.scatter(1, column, _FLOOR)
        if self._capped:
            category = self._limits.category
            of_taken = category.gather(1, column)  # (S, 1)
            self._used = self._used + ((category == of_taken) & (of_taken >= 0))


def conditional_log_probs(logits: Tensor, action: Tensor, limits: SlateLimits) -> Tensor:
    """log pi(a_k | a_1..a_{k-1}) of each position.

    logits: (S, C); action: (S, K). Depends on the actions up to k only, so padding after the last shown position
    is harmless. An action that may not stand there, or was already taken, gives -inf. Differentiable in the logits.
    """
    log_probs, open_ = [], []
    for k, left in enumerate(remaining_logits(logits, action, limits)):
        chosen = left.gather(1, action[:, k : k + 1]).squeeze(1)
        log_probs.append(chosen - left.logsumexp(1))
        open_.append(chosen > _CLOSED)
    return torch.stack(log_probs, dim=1).masked_fill(~torch.stack(open_, dim=1), -torch.inf)
