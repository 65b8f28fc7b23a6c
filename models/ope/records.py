"""What a log must say for a policy to be judged by it; a record refuses what would be a wrong number.

Letters: n decisions or slates, K positions.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LoggedActions:
    """Decisions of one action each, arrays (n,).

    propensity: probability that the behavior policy gave the logged action; target_propensity: that of the judged policy. user: any
    integers, the resampling unit. predicted: what a reward model says of the logged action; expected: its mean over the actions of the
    target policy; both or none. outside: the target's probability of actions that the behavior policy never takes there.
    Raises ValueError with the count of what is missing or impossible.
    """

    reward: Floats
    propensity: Floats
    target_propensity: Floats
    user: NDArray[np.int64]
    predicted: Floats | None = None
    expected: Floats | None = None
    outside: Floats | None = None

    def __post_init__(self) -> None:
        n = len(self.reward)
        _check_shapes(self, (n,), {})
        _refuse("a propensity", self.propensity, _outside_unit(self.propensity, zero=False), "in (0, 1]")
        _refuse("a target_propensity", self.target_propensity, _outside_unit(self.target_propensity, zero=True), "in [0, 1]")
        for name in ("reward", "predicted", "expected"):
            value = getattr(self, name)
            if value is not None:
                _refuse(f"a {name}", value, ~np.isfinite(value), "a finite number")
        if (self.predicted is None) != (self.expected is None):
            raise ValueError("a reward model is given by both predicted and expected, found one of them")

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def gain(self) -> Floats:
        """(n,) what the behavior policy earned."""
        return self.reward

    @property
    def importance_weight(self) -> Floats:
        """(n,)"""
        return self.target_propensity / self.propensity


@dataclass(frozen=True)
class LoggedSlateArrays:
    """Slates of K positions, arrays (n, K); user (n,).

    shown: True from the first position down to the last one that counts. propensity and target_propensity: of the item given the items
    above it. marginal and target_marginal: of the item at its position, whatever stands above (`item_position_marginals`). predicted: what
    a reward model says that the slate earns from this position on with the logged item there; expected: its mean over the target policy's
    items there given the items above. Raises ValueError with the count of what is missing or impossible at shown positions.
    """

    reward: Floats
    propensity: Floats
    target_propensity: Floats
    shown: NDArray[np.bool_]
    user: NDArray[np.int64]
    marginal: Floats | None = None
    target_marginal: Floats | None = None
    predicted: Floats | None = None
    expected: Floats | None = None
    outside: Floats | None = None

    def __post_init__(self) -> None:
        if self.reward.ndim != 2:
            raise ValueError(f"the rewards of slates are (slates, positions), found shape {self.reward.shape}")
        n, shown = len(self.reward), self.shown
        _check_shapes(self, self.reward.shape, {"user": (n,), "outside": (n,)})
        if gaps := int((shown[:, 1:] & ~shown[:, :-1]).any(1).sum()):
            raise ValueError(f"{gaps} of {n} slates show a position below one that is not; cut them at the first gap")
        for name, zero in (("propensity", False), ("target_propensity", True), ("marginal", False), ("target_marginal", True)):
            value = getattr(self, name)
            if value is not None:
                _refuse(f"a {name}", value, _outside_unit(value, zero) & shown, "in [0, 1]" if zero else "in (0, 1]")
        for name in ("reward", "predicted", "expected"):
            value = getattr(self, name)
            if value is not None:
                _refuse(f"a {name}", value, ~np.isfinite(value) & shown, "a finite number")
        for one, other in (("marginal", "target_marginal"), ("predicted", "expected")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} are given together, found one of them")

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def gain(self) -> Floats:
        """(n,) what each slate earned."""
        return np.asarray(np.where(self.shown, self.reward, 0.0).sum(1))

    @property
    def prefix_weight(self) -> Floats:
        """(n, K) importance weight of the items down to each position; that of the last shown one below it."""
        ratio = np.where(self.shown, self.target_propensity / np.where(self.shown, self.propensity, 1.0), 1.0)
        return np.asarray(ratio.cumprod(1))

    @property
    def importance_weight(self) -> Floats:
        """(n,) of all that was shown."""
        return np.asarray(self.prefix_weight[:, -1])


def _outside_unit(values: Floats, zero: bool) -> NDArray[np.bool_]:
    return ~((values >= 0 if zero else values > 0) & (values <= 1 + 1e-6))


def _refuse(what: str, values: Floats, bad: NDArray[np.bool_], expected: str) -> None:
    if count := int(bad.sum()):
        missing = int((np.isnan(values) & bad).sum())
        found = values[bad & ~np.isnan(values)]
        such = f", such as {found[0]:g}" if len(found) else ""
        counted = f"of {values.size:,} values {count:,} are not ({missing:,} are missing){such}"
        raise ValueError(f"{what} is {expected}; {counted}: leave these rows out")


def _check_shapes(record: LoggedActions | LoggedSlateArrays, shape: tuple[int, ...], other: dict[str, tuple[int, ...]]) -> None:
    for field in fields(record):
        value, wanted = getattr(record, field.name), other.get(field.name, shape)
        if value is not None and value.shape != wanted:
            raise ValueError(f"{field.name} has shape {value.shape}, expected {wanted} as the rewards have")
