"""The closed loop under drift, with and without a poisoned hour, in simulated worlds of other seeds than the demo's.

    make bench-loop            # or: python -m benchmarks.closed_loop.drift_and_poison --seeds 11 12 --speed fast --hours 5

From one state, after a day of logged hours, the same world goes on in branches: as it is; with a click farm in the first hour (half of
the visitors click on everything they are shown); and with the farm where no hour is held (`gates.hold_band: null`). Valued by the truth of
the next hour: the loop's slates, the first release with fresh counters and with everything frozen, popularity, the best order of the
release in force, which explores nothing (greedy), and the best possible. Users are resampled. Branches that were played are kept under
.recloop-bench/ (or $RECLOOP_BENCH_ROOT): run again, it goes on from there. Writes benchmarks/results/closed_loop_*.json.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.closed_loop.branches import GREEDY, Branch, Played, play, prepare
from benchmarks.paired import write_result
from pipelines.local.drift import SPEEDS
from pipelines.local.reward_figures import BEST, FROZEN_ALL, FROZEN_WEIGHTS, LOOP, POPULARITY, RANDOM, RESAMPLES
from pipelines.local.stages import Stages, wide_console

AS_IT_IS = Branch("as it is")
POISONED = Branch("poisoned", poisoned=True)
NOT_HELD = Branch("poisoned, not held", poisoned=True, changes={"gates": {"hold_band": None}})
BRANCHES = (AS_IT_IS, POISONED, NOT_HELD)
AGAINST = (FROZEN_WEIGHTS, FROZEN_ALL, POPULARITY, GREEDY, BEST)


def difference(ours: Sequence[NDArray[np.float64]], users: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """Mean of paired differences a slate over all seeds, and its 95 % interval; within each seed users are resampled."""
    rng, sums, counts = np.random.default_rng(71), np.zeros(RESAMPLES), np.zeros(RESAMPLES)
    for values, of_users in zip(ours, users, strict=True):
        _, user = np.unique(np.array(of_users), return_inverse=True)
        total, count = np.bincount(user, values), np.bincount(user)
        weights = rng.multinomial(len(count), np.full(len(count), 1 / len(count)), RESAMPLES)
        sums += weights @ total
        counts += weights @ count
    low, high = np.quantile(sums / counts, [0.025, 0.975]).tolist()
    return float(np.concatenate(ours).mean()), low, high


def arm(played: Played, name: str) -> NDArray[np.float64]:
    return played.rewards[:, list(played.arms).index(name)]


def check_paired(found: dict[str, Played]) -> None:
    """Raises RuntimeError where the branches did not value the same users in the same hours."""
    if len({(tuple(played.hours), tuple(played.users)) for played in found.values()}) != 1:
        raise RuntimeError("the branches hold different users; remove what is kept of them and run it again")


def report(speed: str, seeds: Sequence[int], found: Sequence[dict[str, Played]]) -> None:
    """Prints and writes the loop against the other arms, and the branches against each other."""
    usual = [played[AS_IT_IS.name] for played in found]
    users = [played.users for played in usual]
    hours = len(set(usual[0].hours))
    means = {name: float(np.concatenate([arm(played, name) for played in usual]).mean()) for name in (LOOP, *AGAINST, RANDOM)}
    gains = {name: difference([arm(played, LOOP) - arm(played, name) for played in usual], users) for name in AGAINST}
    workload = f"drift {speed}, seeds {', '.join(map(str, seeds))}, {hours} hours, {sum(map(len, users)):,} slates"
    share = (means[LOOP] - means[RANDOM]) / (means[BEST] - means[RANDOM])
    told = "; ".join(f"{name.replace('_', ' ')} {means[name]:.2f} ({_signed(gains[name])})" for name in AGAINST)
    drew = [len(set(played.releases)) for played in usual]
    write_result(f"closed_loop_{speed}", {
        "claim": f"the closed loop under {speed} drift against frozen weights, other seeds than the demo's", "row": "reward",
        "ours": means[LOOP], "peer": means[FROZEN_WEIGHTS], "low": gains[FROZEN_WEIGHTS][1], "high": gains[FROZEN_WEIGHTS][2],
        "arms": means, "share_of_best": share, "releases": drew, "seeds": list(seeds), "cores": os.cpu_count(),
        "met": gains[FROZEN_WEIGHTS][1] > 0, "goal_text": "interval above 0",
        "measured": f"{means[LOOP]:.2f} a slate; {told}; {share:.0%} of the way from random to best; {workload}; "
        f"releases that drew: {drew}",
    })  # fmt: skip
    costs = {
        branch.name: difference([arm(played[branch.name], LOOP) - arm(played[AS_IT_IS.name], LOOP) for played in found], users)
        for branch in (POISONED, NOT_HELD)
    }  # fmt: skip
    held = [list(played[POISONED.name].held) for played in found]
    write_result(f"closed_loop_poisoned_{speed}", {
        "claim": f"what a click farm's hour costs the loop in the {hours} hours from its end on, {speed} drift", "row": "reward",
        "ours": costs[POISONED.name][0], "low": costs[POISONED.name][1], "high": costs[POISONED.name][2],
        "peer": costs[NOT_HELD.name][0], "peer_low": costs[NOT_HELD.name][1], "peer_high": costs[NOT_HELD.name][2],
        "held": held, "seeds": list(seeds), "met": costs[POISONED.name][1] > costs[NOT_HELD.name][0],
        "goal_text": "less than where it is not held",
        "measured": f"{_signed(costs[POISONED.name])} a slate where it is held, {_signed(costs[NOT_HELD.name])} where it is not; "
        f"held: {held}; {workload}",
    })  # fmt: skip


def _signed(value: tuple[float, float, float]) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--speed", choices=list(SPEEDS), default="fast")
    parser.add_argument("--hours", type=int, default=5)
    asked, stages = parser.parse_args(), Stages(wide_console())
    torch.set_num_threads(1)
    folder = Path(os.environ.get("RECLOOP_BENCH_ROOT", ".recloop-bench")).absolute() / "closed_loop"
    found = []
    for seed in asked.seeds:
        home = folder / f"{asked.speed}-{seed}"
        kept = prepare(home, seed, asked.speed, stages)
        found.append({branch.name: play(home, kept, branch, asked.hours, stages) for branch in BRANCHES})
        check_paired(found[-1])
        for name, played in found[-1].items():
            for hour in sorted(set(played.hours)):
                rows = np.array(played.hours) == hour
                stages.note(f"{seed} {name} {hour}: " + ", ".join(f"{one} {arm(played, one)[rows].mean():.2f}" for one in played.arms))
    report(asked.speed, asked.seeds, found)


if __name__ == "__main__":
    main()
