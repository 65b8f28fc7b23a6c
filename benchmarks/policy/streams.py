"""Policy learners on hourly feedback, beside Vowpal Wabbit's contextual bandits and Thompson sampling, on made-up streams.

    make bench-policy            # or: python -m benchmarks.policy.streams --seeds 20

Each decision shows one of 20 items; a click has probability sigmoid(base + user · M item + appeal of the item). M and the appeals are
Ornstein-Uhlenbeck processes with a half-life of 24 hours (fast), 168 (slow), or they stay (none): three speeds fixed in advance. What was
decided in an hour is learned at its end, by everybody. recloop's learners are those of `models.policies` with the product's defaults, over
the utility of a logistic regression that is refitted every hour on the last day: the ranker's part. Peers see the user, the items
and the same two numbers of each item's last day (how often it was shown, and its smoothed click rate). Reward is the true probability of
what is shown, as a share of the way from random to best.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.paired import write_result
from models.hashing import gumbel
from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import make_policy
from models.policies.refresh import all_logits, refresh_policy
from models.records import LoggedSlates, SlateLimits
from models.slates import draw

HALF_LIFE_H = {"none": math.inf, "slow": 168.0, "fast": 24.0}
HOURS, DECISIONS, ITEMS, CANDIDATES, WIDTH = 48, 150, 100, 20, 5
BASE, MATCH_STD, APPEAL_STD = -2.0, 0.6, 0.7
WINDOW_H, CHURN_NOISE = 24, 9_999_999
LEARNERS = ("reinforce", "neural_linear", "lin_ucb", "softmax", "epsilon_greedy")
COSTS = "--cb_min_cost -1 --cb_max_cost 0"  # without the range, regcb and squarecb take costs of 0 to 1
VOWPAL = {
    "VW epsilon 0.05": "--epsilon 0.05", "VW epsilon 0.1, l 0.1": "--epsilon 0.1 -l 0.1", "VW regcb": f"--regcb --mellowness 0.1 {COSTS}",
    "VW regcbopt": f"--regcbopt --mellowness 0.01 {COSTS}", "VW squarecb": f"--squarecb {COSTS}",
    "VW squarecb, gamma 100": f"--squarecb --gamma_scale 100 {COSTS}", "VW cover": "--cover 5",
    "VW cover, psi 0.01": "--cover 5 --psi 0.01 --nounif",
}  # fmt: skip
THOMPSON, RANDOM, BEST = "Bernoulli Thompson", "random", "best"
GOAL, GOAL_CHURN = 0.97, 0.2
Floats = NDArray[np.float64]


@dataclass
class World:
    """The truth of one seed, hour by hour, the same for everybody who decides in it."""

    speed: str
    seed: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, list(HALF_LIFE_H).index(self.speed)])
        self.keep = float(2 ** (-1 / HALF_LIFE_H[self.speed]))
        self.items = self.rng.normal(size=(ITEMS, WIDTH))
        self.match = self.rng.normal(0, MATCH_STD, (WIDTH, WIDTH))
        self.appeal = self.rng.normal(0, APPEAL_STD, ITEMS)

    def hour(self) -> "Hour":
        """The decisions of the next hour."""
        users = self.rng.normal(size=(DECISIONS, WIDTH))
        candidates = np.argsort(self.rng.random((DECISIONS, ITEMS)), axis=1)[:, :CANDIDATES]
        logit = BASE + np.einsum("nv,vw,ncw->nc", users, self.match, self.items[candidates]) + self.appeal[candidates]
        found = Hour(users, candidates, self.items[candidates], 1 / (1 + np.exp(-logit)), self.rng.random(DECISIONS))
        self.match = self.keep * self.match + math.sqrt(1 - self.keep**2) * self.rng.normal(0, MATCH_STD, self.match.shape)
        self.appeal = self.keep * self.appeal + math.sqrt(1 - self.keep**2) * self.rng.normal(0, APPEAL_STD, ITEMS)
        return found


@dataclass(frozen=True)
class Hour:
    users: Floats  # (n, WIDTH)
    candidates: NDArray[np.int64]  # (n, C) numbers of items
    features: Floats  # (n, C, WIDTH)
    chance: Floats  # (n, C) of a click
    needs: Floats  # (n,) uniform: common random numbers


class Decider(Protocol):
    """Chooses a column (n,) for every decision of an hour, then learns what came of it."""

    def choose(self, number: int, hour: Hour) -> NDArray[np.int64]: ...
    def learn(self, hour: Hour, chosen: NDArray[np.int64], clicked: Floats) -> None: ...


class ItemCounts:
    """How often each item was shown and clicked, decayed by a half-life of a day."""

    def __init__(self) -> None:
        self.shown, self.clicked = np.zeros(ITEMS), np.zeros(ITEMS)

    def numbers(self, candidates: NDArray[np.int64]) -> Floats:
        """(n, C, 2) log1p of showings, and log odds of the smoothed rate."""
        rate = (self.clicked + 1.0) / (self.shown + 8.0)
        found: Floats = np.stack([np.log1p(self.shown), np.log(rate / (1 - rate))], axis=-1)[candidates]
        return found

    def add(self, items: NDArray[np.int64], clicked: Floats) -> None:
        decay = 2 ** (-1 / 24)
        self.shown = decay * self.shown + np.bincount(items, minlength=ITEMS)
        self.clicked = decay * self.clicked + np.bincount(items, weights=clicked, minlength=ITEMS)


class Regression:
    """A logistic regression of clicks on user x item, item and counts, refitted on the last day: stands for the ranker."""

    def __init__(self) -> None:
        self.weight = np.zeros(WIDTH * WIDTH + WIDTH + 3)
        self.weight[-1], self.weight[-2] = 0.0, 1.0  # the smoothed rate, as it is
        self.rows: list[tuple[Floats, Floats]] = []

    def inputs(self, users: Floats, features: Floats, counts: Floats) -> Floats:
        """(..., F) of users (..., WIDTH), features (..., WIDTH) and counts (..., 2)."""
        products = (users[..., :, None] * features[..., None, :]).reshape(*users.shape[:-1], -1)
        return np.concatenate([products, features, counts, np.ones((*users.shape[:-1], 1))], axis=-1)

    def fit(self, inputs: Floats, clicked: Floats) -> None:
        self.rows = [*self.rows, (inputs, clicked)][-WINDOW_H:]
        x, y = (np.concatenate(part) for part in zip(*self.rows, strict=True))
        prior = np.zeros_like(self.weight)
        prior[-2] = 1.0
        for _ in range(25):
            p = 1 / (1 + np.exp(-np.clip(x @ self.weight, -30, 30)))
            curvature = x.T @ (x * (p * (1 - p))[:, None]) + 2.0 * np.eye(x.shape[1])
            step = np.linalg.solve(curvature, x.T @ (y - p) - 2.0 * (self.weight - prior))
            self.weight = self.weight + step / max(1.0, float(np.abs(step).max()))  # a full step may overshoot without end
            if np.abs(step).max() < 1e-6:
                break


class Recloop:
    """A learner of `models.policies` over the regression's utility."""

    def __init__(self, learner: str, seed: int) -> None:
        self.policy = make_policy(PolicyConfig(WIDTH, 4 + WIDTH, learner=learner), seed)
        self.counts, self.ranker, self.seed = ItemCounts(), Regression(), seed
        self.log: list[LoggedSlates] = []
        self.churn: list[float] = []
        self._drawn: LoggedSlates | None = None

    def choose(self, number: int, hour: Hour) -> NDArray[np.int64]:
        self._counts = self.counts.numbers(hour.candidates)
        wide = np.broadcast_to(hour.users[:, None], hour.features.shape)
        self._inputs = self.ranker.inputs(wide, hour.features, self._counts)
        utility = self._inputs @ self.ranker.weight
        columns = np.concatenate([np.stack([utility, utility], -1), self._counts, hour.features], axis=-1)
        n = len(hour.users)
        user, candidates = torch.from_numpy(hour.users).float(), torch.from_numpy(columns).float()
        mask = torch.ones(n, CANDIDATES, dtype=torch.bool)
        with torch.no_grad():
            logits = self.policy(user, candidates, mask).double()
        noise = gumbel(self.seed, np.arange(n, dtype=np.uint64), hour.candidates.astype(np.uint64), number)
        limits = SlateLimits.none(n, CANDIDATES, 1)
        action, propensity = draw(logits, torch.from_numpy(noise), limits)
        self._drawn = LoggedSlates(
            user, candidates, mask, logits.float(), action, torch.ones(n, 1, dtype=torch.bool), propensity.float(), torch.zeros(n, 1),
            torch.arange(n) + 10_000 * number, torch.full((n,), -1), torch.full((n,), number), limits,
        )  # fmt: skip
        return action[:, 0].numpy()

    def learn(self, hour: Hour, chosen: NDArray[np.int64], clicked: Floats) -> None:
        assert self._drawn is not None
        self._drawn.reward.copy_(torch.from_numpy(clicked).float().unsqueeze(1))
        self.log = [*self.log, self._drawn][-WINDOW_H:]
        rows = np.arange(len(chosen))
        self.ranker.fit(self._inputs[rows, chosen], clicked)
        self.counts.add(hour.candidates[rows, chosen], clicked)
        before, slates = self.policy, _joined(self.log)
        self.policy, _ = refresh_policy(self.policy, slates, RefreshSettings(seed=self.seed))
        old, new = (all_logits(policy, self._drawn) for policy in (before, self.policy))
        noise = torch.from_numpy(gumbel(self.seed, rows.astype(np.uint64), hour.candidates.astype(np.uint64), CHURN_NOISE))
        self.churn.append(float(((old + noise).argmax(1) != (new + noise).argmax(1)).double().mean()))


def _joined(log: list[LoggedSlates]) -> LoggedSlates:
    parts = {name: torch.cat([getattr(one, name) for one in log]) for name in LoggedSlates.__dataclass_fields__ if name != "limits"}
    return LoggedSlates(**parts, limits=SlateLimits.none(len(parts["user"]), CANDIDATES, 1))


class Vowpal:
    """`--cb_explore_adf` with quadratic features of user and item."""

    def __init__(self, arguments: str, seed: int) -> None:
        from vowpalwabbit import Workspace

        self.model = Workspace(f"--cb_explore_adf {arguments} -q ui -q uc --cb_type mtr --quiet --random_seed {seed}")
        self.rng, self.counts = np.random.default_rng(seed), ItemCounts()

    def choose(self, number: int, hour: Hour) -> NDArray[np.int64]:
        numbers = self.counts.numbers(hour.candidates)
        self.lines = [self._lines(hour, numbers, n) for n in range(len(hour.users))]
        chances = [np.array(self.model.predict([shared, *items])) for shared, items in self.lines]
        chosen = np.array([self.rng.choice(CANDIDATES, p=chance / chance.sum()) for chance in chances])
        self.chance = [chance[column] for chance, column in zip(chances, chosen, strict=True)]
        return chosen

    def learn(self, hour: Hour, chosen: NDArray[np.int64], clicked: Floats) -> None:
        for (shared, items), column, chance, click in zip(self.lines, chosen, self.chance, clicked, strict=True):
            labelled = [*items]
            labelled[column] = f"0:{-click}:{chance} {items[column]}"
            self.model.learn([shared, *labelled])
        self.counts.add(hour.candidates[np.arange(len(chosen)), chosen], clicked)

    def _lines(self, hour: Hour, numbers: Floats, n: int) -> tuple[str, list[str]]:
        shared = "shared |u " + " ".join(f"{k}:{value:.4f}" for k, value in enumerate(hour.users[n]))
        items = [
            f"|i id={item} " + " ".join(f"{k}:{value:.4f}" for k, value in enumerate(features)) + f" |c shown:{shown:.4f} rate:{rate:.4f}"
            for item, features, (shown, rate) in zip(hour.candidates[n], hour.features[n], numbers[n], strict=True)
        ]  # fmt: skip
        return shared, items


class Thompson:
    """Beta posterior of each item's click rate, decayed by a half-life of a day as the counts are."""

    def __init__(self, seed: int) -> None:
        self.rng, self.counts = np.random.default_rng(seed), ItemCounts()

    def choose(self, number: int, hour: Hour) -> NDArray[np.int64]:
        shown, clicked = self.counts.shown[hour.candidates], self.counts.clicked[hour.candidates]
        return np.asarray(self.rng.beta(1 + clicked, 1 + np.maximum(shown - clicked, 0)).argmax(1))

    def learn(self, hour: Hour, chosen: NDArray[np.int64], clicked: Floats) -> None:
        self.counts.add(hour.candidates[np.arange(len(chosen)), chosen], clicked)


def deciders(seed: int, learners: Sequence[str]) -> dict[str, Callable[[], Decider]]:
    own = {learner: (lambda learner=learner: Recloop(learner, seed)) for learner in learners}
    wabbits = {name: (lambda arguments=arguments: Vowpal(arguments, seed)) for name, arguments in VOWPAL.items()}
    return {**own, **wabbits, THOMPSON: lambda: Thompson(seed)}


def run(world: World, decider: Decider) -> tuple[float, float, float]:
    """Mean true reward of what the decider shows, of random and of the best."""
    sums = np.zeros(3)
    for number in range(HOURS):
        hour = world.hour()
        chosen = decider.choose(number, hour)
        chance = hour.chance[np.arange(len(chosen)), chosen]
        decider.learn(hour, chosen, (hour.needs < chance).astype(np.float64))
        sums += chance.mean(), hour.chance.mean(), hour.chance.max(1).mean()
    found = sums / HOURS
    return float(found[0]), float(found[1]), float(found[2])


def measured(seeds: range, learners: Sequence[str]) -> tuple[dict[str, dict[str, list[float]]], dict[str, list[float]]]:
    """Normalised reward by speed, decider and seed; churn a refresh of recloop's learners without drift, after the first ten hours."""
    found: dict[str, dict[str, list[float]]] = {speed: {} for speed in HALF_LIFE_H}
    churn: dict[str, list[float]] = {}
    for speed in HALF_LIFE_H:
        for seed in seeds:
            for name, make in deciders(seed, learners).items():
                began, decider = time.monotonic(), make()
                own, random, best = run(World(speed, seed), decider)
                found[speed].setdefault(name, []).append((own - random) / (best - random))
                if isinstance(decider, Recloop) and speed == "none":
                    churn.setdefault(name, []).append(float(np.mean(decider.churn[10:])))
                print(f"{speed:5} seed {seed:2} {name:20} {found[speed][name][-1]:.4f}  {time.monotonic() - began:.0f} s", flush=True)
    return found, churn


def ratio(own: list[float], peer: list[float], seed: int = 7) -> tuple[float, float, float]:
    """Mean over mean, and its 95 % bootstrap interval over paired seeds."""
    ours, theirs = np.array(own), np.array(peer)
    pick = np.random.default_rng(seed).integers(0, len(ours), (4000, len(ours)))
    again = ours[pick].mean(1) / theirs[pick].mean(1)
    low, high = np.quantile(again, [0.025, 0.975])
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def write(found: Mapping[str, Mapping[str, list[float]]], churn: Mapping[str, list[float]], seeds: int) -> None:
    """A claim a speed: the learner that is best on the mean of all speeds against the best peer of each."""
    peers = [*VOWPAL, THOMPSON]
    means = {name: float(np.mean([np.mean(found[speed][name]) for speed in found])) for name in (*churn, *peers)}
    ours, best_peer = max(churn, key=means.__getitem__), max(peers, key=means.__getitem__)
    shared = {"row": "10", "seeds": seeds, "workload": f"{HOURS} hours of {DECISIONS} decisions, {CANDIDATES} of {ITEMS} items each"}
    for speed, by_name in found.items():
        rewards = {name: float(np.mean(values)) for name, values in by_name.items()}
        best = max(peers, key=rewards.__getitem__)
        middle, low, high = ratio(by_name[ours], by_name[best])
        others = ", ".join(f"{name} {reward:.3f}" for name, reward in rewards.items() if name not in (ours, best))
        both = f"{rewards[ours]:.3f} against {rewards[best]:.3f} of the way from random to best, {seeds} seeds"
        write_result(f"policy_stream_{speed}", shared | {
            "claim": f"{ours} on hourly feedback over the best peer ({best}), drift {speed}", "unit": "times", "ratio": middle, "low": low,
            "high": high, "goal": GOAL, "met": low >= GOAL, "rewards": rewards, "goal_text": f"at least {GOAL} times",
            "measured": f"{middle:.3f} times [{low:.3f}, {high:.3f}]: {both}; {others}",
        })  # fmt: skip
    write_result("policy_stream_mean", shared | {
        "claim": f"{ours} on hourly feedback over the best peer ({best_peer}), mean of three drifts", "unit": "share of the way",
        "ours": means[ours], "peer": means[best_peer], "met": means[ours] > means[best_peer], "goal_text": "above it",
        "measured": f"{means[ours]:.3f} against {means[best_peer]:.3f} of the way from random to best, {seeds} seeds",
    })  # fmt: skip
    own = {name: float(np.mean(values)) for name, values in churn.items()}
    write_result("policy_stream_churn", shared | {
        "claim": f"what a refresh of {ours} changes without drift, under the same noise", "unit": "share of the choices", "ours": own[ours],
        "met": own[ours] <= GOAL_CHURN, "goal_text": f"at most {GOAL_CHURN:.0%}",
        "measured": f"{own[ours]:.1%}; " + ", ".join(f"{name} {value:.1%}" for name, value in own.items() if name != ours),
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="worlds of each speed (default 20)")
    parser.add_argument("--learners", default=",".join(LEARNERS), help="of recloop, with commas between them (default: all)")
    given = parser.parse_args()
    found, churn = measured(range(given.seeds), given.learners.split(","))
    write(found, churn, given.seeds)


if __name__ == "__main__":
    main()
