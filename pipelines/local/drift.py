"""What changes in the world by the hour: tastes walk, items are talked about for a while. A function of seed and hour alone."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.hashing import Hashes, uniform

Speed = Literal["slow", "medium", "fast"]


@dataclass(frozen=True)
class DriftRates:
    """Standard deviations are of the logit, an hour; a buzz is a bump of mean height 1 on one item."""

    trend: float
    individual: float
    buzz_rate: float


SPEEDS: dict[Speed, DriftRates] = {
    "slow": DriftRates(0.03, 0.03, 0.002),
    "medium": DriftRates(0.08, 0.08, 0.004),
    "fast": DriftRates(0.16, 0.16, 0.008),
}
KEPT = 0.99  # of the way walked so far, an hour: the walk stays within 7 hourly steps
BUZZ_HALF_LIFE_H = 6
BUZZ_WINDOW_H = 48
_WALK, _BUZZ, _HEIGHT = 11, 12, 13


@dataclass
class TasteWalk:
    """How far the genre weights of all users have moved, the trend and each user's own way together."""

    seed: int
    users: int
    genres: int
    rates: DriftRates
    _hour: int = 0
    _moved: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        self._moved = np.zeros((self.users, self.genres), np.float32)

    def at(self, hours: int) -> NDArray[np.float32]:
        """(users, genres) after so many hours; nothing has moved at 0. Walks on from the last answer where it can."""
        if hours < self._hour:
            self._hour, self._moved = 0, np.zeros_like(self._moved)
        while self._hour < hours:
            self._hour += 1
            noise = np.random.default_rng([self.seed, _WALK, self._hour]).standard_normal((self.users + 1, self.genres), np.float32)
            step = np.float32(self.rates.trend) * noise[0] + np.float32(self.rates.individual) * noise[1:]
            self._moved = np.float32(KEPT) * self._moved + step
        return self._moved


def buzz(seed: int, items: Hashes, hour: int, rates: DriftRates) -> NDArray[np.float64]:
    """(N,) extra logit of each item in this hour: the fading rest of the bumps of the last two days."""
    ages = np.arange(BUZZ_WINDOW_H)
    began = (hour - ages).astype(np.uint64)[:, None]  # (BUZZ_WINDOW_H, 1)
    heights = -np.log(uniform(seed, _HEIGHT, items, began))
    bumps = np.where(uniform(seed, _BUZZ, items, began) < rates.buzz_rate, heights, 0.0)
    return np.asarray(np.exp(-math.log(2) / BUZZ_HALF_LIFE_H * ages) @ bumps)
