"""Figures of a composed release {ranker, policy} against production's on the same logged slates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.hashing import gumbel, mix
from models.off_policy import difference, last_shown_weights, value
from models.policy_gradient import slate_entropy
from models.records import LoggedSlates, PolicyValue
from models.slates import draw
from pipelines.lake.metrics import GATE_FOLD, Metric
from pipelines.registry.gates import CONFIDENCE, Measured
from pipelines.registry.slate_page import UserSlates

TOP_SHARE = 0.01
CANDIDATE, PRODUCTION, LOGGED = "candidate", "production", "logged"
AGES_H = {"a day": 24.0, "a week": 168.0, "30 days": 720.0, "90 days": 2160.0, "older": float("inf")}  # up to
SHOWN_24H = {"never": 0.5, "1 to 10": 10.5, "to 100": 100.5, "to 1,000": 1000.5, "more": float("inf")}  # up to
_SHOWN, _AGE = 2, 5  # columns of the candidates' features: log1p of showings in a day, and of hours
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """Two policies on the same logged slates: logits (S, C) of the target and of production, and the item row of each candidate (S, C)."""

    slates: LoggedSlates
    target: Tensor
    base: Tensor
    rows: Tensor
    seed: int

    @cached_property
    def redrawn(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Action and propensity (S, K) of each policy when every slate is drawn anew, both with the same noise."""
        users, names = self.slates.user.numpy().astype("uint64"), self.rows.numpy().astype("uint64")
        noise = torch.from_numpy(gumbel(self.seed, mix(users), mix(names), 0))
        both = {CANDIDATE: self.target, PRODUCTION: self.base}
        return {name: draw(logits.double(), noise, self.slates.limits) for name, logits in both.items()}

    @property
    def predicted(self) -> Tensor:
        """(S, C) what the ranker, which learned from other users, expects of each candidate, as a share of the best reward."""
        return self.slates.candidates[..., 0].sigmoid()

    @cached_property
    def production(self) -> PolicyValue:
        """What production is worth on these slates."""
        return value(self.slates, self.base, predicted=self.predicted)

    def gate_figures(self, items: int) -> dict[str, Measured]:
        """What the gates ask of the policy; ``items``: how many the catalogue holds."""
        gain = difference(self.slates, self.target, self.base, CONFIDENCE, predicted=self.predicted)
        level = self.production
        size = int(gain.effective_sample_size)
        scale = max(level.mean, 1e-9)
        entropy = self._entropy(self.target) / max(self._entropy(self.base), 1e-9)
        exposure = self.top_share(CANDIDATE, items) / max(self.top_share(PRODUCTION, items), 1e-9)
        return {
            "policy_value_ratio": Measured(gain.mean / scale, gain.low / scale, gain.high / scale, size),
            "slate_entropy_ratio": Measured(entropy, entropy, entropy, len(self.slates)),
            "exposure_ratio": Measured(exposure, exposure, exposure, len(self.slates)),
        }

    def top_share(self, name: str, items: int) -> float:
        """Share of the positions that the most shown TOP_SHARE of the items take when each slate is drawn anew."""
        action, propensity = self.redrawn[name]
        counts = torch.bincount(self.rows.gather(1, action)[propensity > 0], minlength=items + 1).sort(descending=True).values
        return float(counts[: max(1, round(TOP_SHARE * items))].sum() / counts.sum().clamp(min=1))

    def record(self) -> "PolicyRecord":
        """What a person looks at."""
        slates = self.slates
        every = {CANDIDATE: self.target, PRODUCTION: self.base, LOGGED: slates.behavior_logits.double()}
        candidate = value(slates, self.target, predicted=self.predicted)
        return PolicyRecord(
            values={CANDIDATE: candidate, PRODUCTION: self.production, LOGGED: value(slates, every[LOGGED])},
            entropy={name: self._entropy(logits) for name, logits in every.items()},
            weights=last_shown_weights(slates, self.target).double().numpy(),
            churn=self.churn(),
            by_age={name: self._shares(name, _AGE, AGES_H) for name in self.redrawn},
            by_popularity={name: self._shares(name, _SHOWN, SHOWN_24H) for name in self.redrawn},
        )

    def churn(self) -> float:
        """Share of production's items that the candidate's slate, drawn with the same noise, does not hold; mean over the slates."""
        (new, new_chance), (old, old_chance) = (self.redrawn[name] for name in (CANDIDATE, PRODUCTION))
        kept = ((old.unsqueeze(2) == new.unsqueeze(1)) & (new_chance > 0).unsqueeze(1)).any(2) & (old_chance > 0)  # (S, K)
        size = (old_chance > 0).sum(1).clamp(min=1)
        return float(1 - (kept.sum(1) / size).mean()) if len(kept) else 0.0

    def _shares(self, name: str, column: int, bins: Mapping[str, float]) -> Shares:
        """Share of the shown positions in each bin of a candidate feature that is a log1p."""
        action, propensity = self.redrawn[name]
        found = torch.expm1(self.slates.candidates[..., column]).gather(1, action)[propensity > 0].double().numpy()
        counts = np.bincount(np.searchsorted(list(bins.values()), found), minlength=len(bins))[: len(bins)]
        return np.asarray(counts / max(1, counts.sum()), dtype=np.float64)

    def _entropy(self, logits: Tensor) -> float:
        return slate_entropy(logits, self.slates).mean().item()


@dataclass(frozen=True)
class PolicyRecord:
    """The candidate beside production and what was logged: value a slate, entropy a slate, by name; prefix weights (n,) of whole slates.

    churn: see ``Compared.churn``. by_age, by_popularity: of candidate and production, shares of what they show in AGES_H and SHOWN_24H.
    users: slates of some users under both.
    """

    values: Mapping[str, PolicyValue]
    entropy: Mapping[str, float]
    weights: Shares
    churn: float
    by_age: Mapping[str, Shares]
    by_popularity: Mapping[str, Shares]
    users: Sequence[UserSlates] = ()

    def metrics(self) -> list[Metric]:
        found = [Metric("policy_churn", CANDIDATE, self.churn, n=len(self.weights), slice=GATE_FOLD)]
        for name, one in self.values.items():
            found.append(Metric("policy_value", name, one.mean, one.low, one.high, int(one.effective_sample_size), GATE_FOLD))
            found.append(Metric("policy_entropy", name, self.entropy[name], n=one.n, slice=GATE_FOLD))
        return found
