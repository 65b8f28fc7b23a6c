"""Mean rewards of the arms, paired differences and the share of the best, with intervals that resample users. Pure.

Letters: U users of an hour, V users of all hours, A arms, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.lake.metrics import Metric

LOOP = "loop"
FROZEN_WEIGHTS, FROZEN_ALL = "frozen_weights", "frozen_all"
POPULARITY, RANDOM, BEST = "popularity", "random", "best"
ARMS = (LOOP, FROZEN_WEIGHTS, FROZEN_ALL, POPULARITY, RANDOM, BEST)
MEANING = {
    LOOP: "the slates as the loop published them",
    FROZEN_WEIGHTS: "the first release, with counters and histories as fresh as the loop's",
    FROZEN_ALL: "the first release, with counters, histories and ages as they stood when its own hours ended",
    POPULARITY: "the most rewarded items of the week",
    RANDOM: "allowed items by lot",
    BEST: "the highest expected reward, by the truth",
}
REWARD, DIFFERENCE, SHARE = "world_reward", "world_difference", "world_share_of_best"
HOUR, LIVE = "all", "live hours"  # slices: an hour alone; all live hours up to it
RESAMPLES = 1000


@dataclass(frozen=True)
class HourRewards:
    """Expected reward (U, A) of the slate that each arm would show each user, arms in the order of ARMS."""

    hour: str
    users: list[str]
    rewards: NDArray[np.float64]


def figures(hours: Sequence[HourRewards], seed: int, of_slice: str, release_id: str | None) -> list[Metric]:
    """Mean rewards a slate, the loop's less each other arm's, and the loop's share of the best, over these hours.

    Each with its 95 % interval; ``n`` counts slates.
    """
    sums, counts = _per_user(hours)
    means = _means(np.ones((1, len(counts))), sums, counts)[0]  # (A,)
    weights = np.random.default_rng([seed, 71]).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), RESAMPLES)
    drawn = _means(weights, sums, counts)  # (B, A)
    loop = ARMS.index(LOOP)

    def figure(name: str, subject: str, value: float, resampled: NDArray[np.float64]) -> Metric:
        low, high = np.quantile(resampled, (0.025, 0.975)).tolist()
        return Metric(name, subject, float(value), low, high, int(counts.sum()), of_slice, release_id)

    rewards = [figure(REWARD, arm, means[a], drawn[:, a]) for a, arm in enumerate(ARMS)]
    less = [
        figure(DIFFERENCE, arm, means[loop] - means[a], drawn[:, loop] - drawn[:, a]) for a, arm in enumerate(ARMS) if arm != LOOP
    ]
    return [*rewards, *less, figure(SHARE, LOOP, float(share_of_best(means)), share_of_best(drawn))]


def share_of_best(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """(loop − random) / (best − random) of means (..., A); NaN where random is as good as the best."""
    loop, best, random = (means[..., ARMS.index(arm)] for arm in (LOOP, BEST, RANDOM))
    room = best - random
    return np.divide(loop - random, room, out=np.full_like(room, np.nan), where=room > 0)


def _per_user(hours: Sequence[HourRewards]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Summed rewards (V, A) and number of slates (V,) of each user."""
    names = sorted({user for hour in hours for user in hour.users})
    index = {user: row for row, user in enumerate(names)}
    sums, counts = np.zeros((len(names), len(ARMS))), np.zeros(len(names))
    for hour in hours:
        rows = [index[user] for user in hour.users]
        sums[rows] += hour.rewards
        counts[rows] += 1
    return sums, counts


def _means(weights: NDArray, sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((weights @ sums) / (weights @ counts)[:, None])
