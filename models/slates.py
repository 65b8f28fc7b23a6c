"""Plackett-Luce slates: K items drawn without replacement, each by softmax over the candidates that are left.

Letters: C candidates, K positions, S slates. Logits of masked candidates are -inf.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

_FLOOR = -1e30  # stands for -inf inside sums: keeps gradients finite where every candidate is taken


def bound_logits(utility: Tensor, mask: Tensor, temperature: float, logit_range: float = 7.0) -> Tensor:
    """Logits of the exploring policy: utility, standardized over the slate's candidates, by temperature.

    utility, mask: (..., C). Clipped from below at max - logit_range, the exploration floor: a Plackett-Luce policy
    cannot mix with a uniform one and stay Plackett-Luce. Returns (..., C), masked = -inf.
    """
    if temperature <= 0:
        raise ValueError(f"the slate temperature must be above 0, found {temperature}")
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    known = torch.where(mask, utility, torch.zeros_like(utility))
    centered = torch.where(mask, known - known.sum(-1, keepdim=True) / count, torch.zeros_like(utility))
    std = (centered.square().sum(-1, keepdim=True) / count).sqrt().clamp(min=1e-6)
    return bound_range(centered / std / temperature, mask, logit_range)  # (..., C)


def bound_range(logits: Tensor, mask: Tensor, logit_range: float) -> Tensor:
    """Logits raised to at least max - logit_range over the valid candidates; masked = -inf. Shapes (..., C)."""
    highest = logits.masked_fill(~mask, _FLOOR).amax(-1, keepdim=True)
    return torch.maximum(logits, highest - logit_range).masked_fill(~mask, -torch.inf)


def draw(logits: Tensor, noise: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """A slate by Gumbel top-k (Kool et al. 2019), which is a Plackett-Luce draw.

    logits, noise: (..., C), noise standard Gumbel. Returns action (..., k) int64 and its propensity (..., k) given the
    items above. Positions beyond the valid candidates have propensity 0: they are not shown.
    """
    if logits.shape[-1] < k:
        raise ValueError(f"a slate of {k} needs at least {k} candidate columns, found {logits.shape[-1]}; pad and mask")
    action = (logits + noise).topk(k, dim=-1).indices  # (..., k)
    propensity = conditional_log_probs(logits.double(), action).exp()  # float32 sums would be off by up to 1e-6
    return action, propensity.to(logits.dtype)


def remaining_logits(logits: Tensor, action: Tensor) -> Iterator[Tensor]:
    """For each position, the logits (..., C) with the items above it taken out; finite in place of -inf."""
    remaining = logits.clamp(min=_FLOOR)
    for k in range(action.shape[-1]):
        yield remaining
        remaining = remaining.scatter(-1, action[..., k : k + 1], _FLOOR)


def conditional_log_probs(logits: Tensor, action: Tensor) -> Tensor:
    """log pi(a_k | a_1..a_{k-1}) of each position.

    logits: (..., C); action: (..., K). Depends on the actions up to k only, so padding after the last shown position
    is harmless. An action that is masked or was already taken gives -inf. Differentiable in the logits.
    """
    log_probs = torch.stack(
        [
            left.gather(-1, action[..., k : k + 1]).squeeze(-1) - left.logsumexp(-1)
            for k, left in enumerate(remaining_logits(logits, action))
        ],
        dim=-1,
    )  # (..., K)
    impossible = ~torch.isfinite(logits).gather(-1, action) | _is_repeated(action)
    return log_probs.masked_fill(impossible, -torch.inf)


def _is_repeated(action: Tensor) -> Tensor:
    """True where the same action stands at an earlier position. Shapes (..., K)."""
    same = action.unsqueeze(-1) == action.unsqueeze(-2)  # (..., K, K)
    return same.tril(diagonal=-1).any(-1)
