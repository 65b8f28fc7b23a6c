"""What a shown item leads to: a click by logit and position; then watching and rating by how much the user likes the item.

``mood`` is the affinity in standard deviations above the intercept; ``luck`` a uniform number in (0, 1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import UserError
from pipelines.settings import Reward, RewardTermSettings

Array = NDArray[np.floating[Any]]

LOGIT_SD = 1.3
POSITION_EFFECT = -0.25
STARS_LEVEL, STARS_SLOPE, STARS_SPREAD = 3.0, 0.8, 0.6


def sigmoid(logits: Array) -> Array:
    return 1 / (1 + np.exp(-logits))


def position_effect(position: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Logit lost by standing lower: 0 at position 0, a quarter at each doubling."""
    return POSITION_EFFECT * np.log2(1.0 + position)


def watch_exponent(mood: Array) -> Array:
    """The watched share is Beta(exponent, 1): its mean is exponent / (1 + exponent)."""
    return np.exp(0.8 * mood - 0.3)


def watched_share(mood: Array, luck: Array) -> Array:
    return luck ** (1 / watch_exponent(mood))


def rating_probability(mood: Array) -> Array:
    return sigmoid(0.5 * mood - 1.1)


def stars(mood: Array, luck: Array) -> Array:
    """1 to 5: a logistic variable around STARS_LEVEL + STARS_SLOPE * mood, rounded."""
    return np.clip(np.rint(STARS_LEVEL + STARS_SLOPE * mood + STARS_SPREAD * np.log(luck / (1 - luck))), 1, 5)


def expected_given_click(mood: Array, reward: Reward) -> Array:
    """Expected reward of a click under the domain's definition. Raises UserError for a task that nobody here does."""
    total = np.zeros_like(mood)
    for term in reward.terms:
        total += term.weight * _expected_label(mood, term)
    return total


def _expected_label(mood: Array, term: RewardTermSettings) -> Array:
    """E[min(label, cap)] of one term."""
    if term.task == "click":
        return np.full_like(mood, min(term.cap, 1.0))
    if term.task == "watch" and term.per_attribute == "duration_s":
        exponent, cap = watch_exponent(mood), min(term.cap, 1.0)
        return cap - cap ** (exponent + 1) / (exponent + 1)
    if term.task == "rating" and term.positive_from is not None:
        threshold = np.ceil(term.positive_from) - 0.5
        above = sigmoid((STARS_LEVEL + STARS_SLOPE * mood - threshold) / STARS_SPREAD) if threshold > 1 else np.ones_like(mood)
        return min(term.cap, 1.0) * rating_probability(mood) * above
    raise UserError(
        f"the simulated users do not {term.task!r} in this way; expected reward terms: click, watch per duration_s, "
        "rating from a number of stars (domain video)"
    )
