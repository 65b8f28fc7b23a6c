"""How often the intervals of off-policy evaluation hold the truth: 500 logs of known truth in each of four worlds.

    make bench-policy

A log: users of different taste, several decisions each, softmax behavior and target policies; the truth is the target's mean reward over
all users. Two worlds are built so that the interval is known to suffer: few effective rows, and rewards that a handful of rows carry.
Writes benchmarks/results/off_policy_coverage_*.json.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.paired import write_result
from models.ope import Evaluation, LoggedActions, empirical_bernstein

LOGS, CONFIDENCE, ACTIONS = 500, 0.95, 6
NAMES = ("ipw", "snipw", "doubly_robust", "sndr")


@dataclass(frozen=True)
class World:
    """``apart``: how far the target's logits lie from the behavior's. ``rare``: a reward is so many times rarer, and larger."""

    users: int
    decisions: int
    apart: float
    rare: float = 1.0


WORLDS = {
    "usual": World(1500, 6, 0.7), "many decisions a user": World(400, 40, 0.7), "far apart": World(1500, 6, 2.0),
    "rare large rewards": World(1500, 6, 0.7, rare=0.005),
}  # fmt: skip
JUDGED = ("usual", "many decisions a user")


def softmax(logits: np.ndarray) -> np.ndarray:
    rates = np.exp(logits - logits.max(-1, keepdims=True))
    return rates / rates.sum(-1, keepdims=True)


def covered(world: World, seed: int) -> tuple[dict[str, bool], float]:
    """Whether each interval of one log holds the truth, and its effective sample size."""
    fixed, draw = np.random.default_rng(1), np.random.default_rng(seed)
    base, step = fixed.normal(0, 0.7, ACTIONS), fixed.normal(0, world.apart, ACTIONS)
    worth = fixed.uniform(0.1, 0.6, ACTIONS)
    behavior, target = softmax(base), softmax(base + step)
    level = draw.uniform(0.4, 1.6, world.users)  # mean 1: the truth is target @ worth
    user = np.repeat(np.arange(world.users), world.decisions)
    action = draw.choice(ACTIONS, len(user), p=behavior)
    paid = draw.random(len(user)) < level[user] * worth[action] * world.rare
    reward, model = paid / world.rare, worth * 0.8
    log = LoggedActions(reward, behavior[action], target[action], user, model[action], np.full(len(user), target @ model))
    evaluation, truth = Evaluation(*NAMES, seed=seed), target @ worth
    evaluation.add(log)
    found = evaluation.result(CONFIDENCE, resamples=500)
    inside = {name: one.low <= truth <= one.high for name, one in found.values.items()}
    by_user = np.bincount(user, log.importance_weight * reward) / world.decisions
    most = float((target / behavior).max() / world.rare)
    bound = empirical_bernstein(by_user, (0.0, most), CONFIDENCE)
    return inside | {"empirical Bernstein": bound.low <= truth <= bound.high}, found.effective_sample_size


def main() -> None:
    for name, world in WORLDS.items():
        runs = [covered(world, seed) for seed in range(LOGS)]
        share = {one: float(np.mean([inside[one] for inside, _ in runs])) for one in (*NAMES, "empirical Bernstein")}
        size = float(np.median([size for _, size in runs]))
        own = [share[one] for one in NAMES]
        met = min(own) >= 0.93 and max(own) <= 0.97 and share["empirical Bernstein"] >= 0.95
        said = ", ".join(f"{one} {value:.1%}" for one, value in share.items())
        judged = name in JUDGED
        write_result(f"off_policy_coverage_{name.replace(' ', '_')}", {
            "claim": f"95 % intervals of off-policy values hold the truth, {name}" + ("" if judged else " (a world where they may fail)"),
            "row": "9", "unit": "share of logs", "ours": min(own), "shares": share, "logs": LOGS, "met": met, "effective_sample_size": size,
            "measured": f"{said}; {LOGS} logs, effective sample size {size:,.0f}",
            "goal_text": "93 to 97 %, empirical Bernstein at least 95 %" + ("" if judged else "; not claimed here"),
        })  # fmt: skip


if __name__ == "__main__":
    main()
