"""One refresh of a policy by any learner: from the slates that were shown, within a trust region.

Letters: S slates, C candidates, K positions.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from models.devices import learning_device, repeatable
from models.policies.base import OnMetrics, RefreshSettings, SlatePolicy
from models.policy_gradient import prefix_weights, slate_entropy, slate_kl
from models.records import LoggedSlates
from models.slates import conditional_log_probs

BISECTIONS = 8
_SLATES_AT_ONCE = 2048


@dataclass(frozen=True)
class RefreshReport:
    """Distance from the policy at the start, and from the anchor (nats a slate), entropy a slate, share of prefix weights above the cap.

    share: how much of what was learned the limits let through.
    """

    kl_mean: float
    kl_p99: float
    entropy: float
    clipped_fraction: float
    steps: int
    share: float = 1.0
    anchor_kl: float = 0.0


def refresh_policy(
    policy: SlatePolicy, slates: LoggedSlates, settings: RefreshSettings, anchor: SlatePolicy | None = None,
    on_metrics: OnMetrics | None = None, device: torch.device | None = None, temperature: float | None = None,
) -> tuple[SlatePolicy, RefreshReport]:  # fmt: skip
    """A new policy by its own learner, no further from the given one, and from an older ``anchor``, than the settings allow.

    ValueError where a shown position has no propensity. The given policy is left as it is. Where the learner overshoots, or leaves
    too little entropy, the update is scaled back until all limits hold. temperature: where its own should go, as far as the limits
    let it. device: where it learns, by default the GPU if there is one; the policy that comes back is on the CPU.
    """
    slates.check_propensities()
    start = copy.deepcopy(policy).eval()
    if len(slates) == 0:
        return start, RefreshReport(0.0, 0.0, 0.0, 0.0, 0)
    device = device or learning_device()
    with repeatable(device):
        older = copy.deepcopy(anchor).to(device) if anchor else None
        refreshed, report = _refreshed(start.to(device), slates.to(device), settings, older, on_metrics, temperature)
    return refreshed.cpu(), report


def _refreshed(
    start: SlatePolicy, slates: LoggedSlates, settings: RefreshSettings, anchor: SlatePolicy | None, on_metrics: OnMetrics | None,
    temperature: float | None,
) -> tuple[SlatePolicy, RefreshReport]:  # fmt: skip
    if not bool(start.fitted):
        start.fit_statistics(slates.user_vector, slates.candidates, slates.mask)
    start_logits = all_logits(start, slates)
    learned = copy.deepcopy(start)
    if temperature is not None:
        learned.set_temperature(temperature)
    steps = learned.learn(slates, start_logits, settings, on_metrics)
    region = _TrustRegion(start_logits, all_logits(anchor, slates) if anchor else None, slates, settings)
    refreshed, share = _scaled_back(start, learned.eval(), region)
    return refreshed, region.report(all_logits(refreshed, slates), steps, share)


@torch.no_grad()
def all_logits(policy: SlatePolicy, slates: LoggedSlates) -> Tensor:
    """Logits (S, C) of all slates, in pieces; the policy in eval mode."""
    return torch.cat([
        policy(piece.user_vector, piece.candidates, piece.mask)
        for piece in (slates.rows(slice(i, i + _SLATES_AT_ONCE)) for i in range(0, len(slates), _SLATES_AT_ONCE))
    ])  # fmt: skip


@dataclass(frozen=True)
class _TrustRegion:
    """Where a refreshed policy may be: logits (S, C) of the start, and of the anchor where there is one."""

    start: Tensor
    anchor: Tensor | None
    slates: LoggedSlates
    settings: RefreshSettings

    def holds(self, logits: Tensor) -> bool:
        limits, kl = self.settings, self._kl(self.start, logits)
        near = bool(kl.mean() <= limits.kl_limit) and bool(kl.quantile(0.99) <= limits.kl_p99_limit)
        spread = self._entropy(logits) >= limits.least_entropy * self._entropy(self.start)
        return near and spread and self._anchor_kl(logits) <= limits.anchor_kl_limit

    def report(self, logits: Tensor, steps: int, share: float) -> RefreshReport:
        kl, shown = self._kl(self.start, logits), self.slates.shown
        weights = prefix_weights(conditional_log_probs(logits, self.slates.action, self.slates.limits), self.slates.propensity, shown)
        clipped = (weights[shown] > self.settings.weight_cap).float().mean().item() if shown.any() else 0.0
        parts = (kl.mean().item(), kl.quantile(0.99).item(), self._entropy(logits), clipped)
        return RefreshReport(*parts, steps, share, self._anchor_kl(logits))

    def _kl(self, start: Tensor, logits: Tensor) -> Tensor:
        return slate_kl(start, logits, self.slates)

    def _anchor_kl(self, logits: Tensor) -> float:
        return self._kl(self.anchor, logits).mean().item() if self.anchor is not None else 0.0

    def _entropy(self, logits: Tensor) -> float:
        return slate_entropy(logits, self.slates).mean().item()


@torch.no_grad()
def _scaled_back(start: SlatePolicy, learned: SlatePolicy, region: _TrustRegion) -> tuple[SlatePolicy, float]:
    """The learned policy where it is within the region, else the last point on the way there that is, by bisection; and its share."""
    policy = _between(start, learned, 1.0)
    if region.holds(all_logits(policy, region.slates)):
        return policy, 1.0
    best, low, high = _between(start, learned, 0.0), 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        policy = _between(start, learned, middle)
        if region.holds(all_logits(policy, region.slates)):
            best, low = policy, middle
        else:
            high = middle
    return best, low


def _between(start: SlatePolicy, learned: SlatePolicy, share: float) -> SlatePolicy:
    policy, other = copy.deepcopy(start).eval(), learned.state_dict()
    for name, tensor in policy.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(other[name], share)
    return policy
