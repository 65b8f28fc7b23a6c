"""Figures of a composed release {ranker, policy} against production's on the same logged slates."""

import torch
from torch import Tensor

from models.hashing import gumbel, mix
from models.off_policy import difference, value
from models.policy_gradient import slate_entropy
from models.records import LoggedSlates
from models.slates import draw
from pipelines.registry.gates import Measured

TOP_SHARE = 0.01


def policy_figures(slates: LoggedSlates, target: Tensor, base: Tensor, rows: Tensor, items: int, seed: int) -> dict[str, Measured]:
    """What the gates ask of the policy. target, base: logits (S, C); rows: item row of each candidate (S, C)."""
    gain, level = difference(slates, target, base), value(slates, base)
    size = int(gain.effective_sample_size)
    scale = max(level.mean, 1e-9)
    entropy = _entropy(slates, target) / max(_entropy(slates, base), 1e-9)
    exposure = top_share(target, rows, items, slates, seed) / max(top_share(base, rows, items, slates, seed), 1e-9)
    return {
        "policy_value_ratio": Measured(gain.mean / scale, gain.low / scale, gain.high / scale, size),
        "slate_entropy_ratio": Measured(entropy, entropy, entropy, len(slates)),
        "exposure_ratio": Measured(exposure, exposure, exposure, len(slates)),
    }


def top_share(logits: Tensor, rows: Tensor, items: int, slates: LoggedSlates, seed: int) -> float:
    """Share of the positions that the most shown TOP_SHARE of the items take when each slate is drawn anew."""
    users, names = slates.user.numpy().astype("uint64"), rows.numpy().astype("uint64")
    noise = torch.from_numpy(gumbel(seed, mix(users), mix(names), 0))
    action, propensity = draw(logits.double(), noise, slates.limits)
    counts = torch.bincount(rows.gather(1, action)[propensity > 0], minlength=items + 1).sort(descending=True).values
    return float(counts[: max(1, round(TOP_SHARE * items))].sum() / counts.sum().clamp(min=1))


def _entropy(slates: LoggedSlates, logits: Tensor) -> float:
    return slate_entropy(logits, slates).mean().item()
