"""Off-policy evaluation against obp: the same numbers, the time, and the memory.

    make bench-policy

Numbers: Open Bandit small, which ships in obp's wheel (random policy, campaign "all"), a softmax target over click rates and the same
table as reward model; slates by Plackett-Luce with their joint, prefix and marginal probabilities. Time and memory: 1,000,000 made-up
decisions among 10 actions in a Parquet file, each side in processes of its own, interleaved. Both get arrays of probabilities and
predictions by action and give the value of seven estimators with an interval of 100 resamples.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import obp.dataset
import obp.ope
import pandas as pd

from benchmarks.paired import median_ratio, write_result
from models.ope import Evaluation, LoggedActions, LoggedSlateArrays, item_position_marginals
from models.ope.estimators import OF_ACTIONS, OF_SLATES, Knobs

ROWS, ACTIONS, PAIRS, RESAMPLES = 1_000_000, 10, 7, 100
KNOBS = Knobs(switch=5.0, shrink=20.0)
CLOSE, FASTER, LEANER = 1e-6, 5.0, 5.0
PEERS: dict[str, Callable[[], object]] = {
    "ipw": obp.ope.InverseProbabilityWeighting, "snipw": obp.ope.SelfNormalizedInverseProbabilityWeighting,
    "direct_method": obp.ope.DirectMethod, "doubly_robust": obp.ope.DoublyRobust, "sndr": obp.ope.SelfNormalizedDoublyRobust,
    "switch_dr": lambda: obp.ope.SwitchDoublyRobust(lambda_=KNOBS.switch),
    "dr_os": lambda: obp.ope.DoublyRobustWithShrinkage(lambda_=KNOBS.shrink),
}  # fmt: skip
Arrays = dict[str, np.ndarray]


def ours(log: Arrays, resamples: int) -> dict[str, float]:
    """Rows count by themselves, as obp's do."""
    evaluation, rows = Evaluation(*OF_ACTIONS, knobs=KNOBS, uniform=True), np.arange(len(log["reward"]))
    for first in range(0, len(rows), 65_536):
        own = slice(first, first + 65_536)
        probability, model, action = log["target"][own], log["model"][own], log["action"][own, None]
        evaluation.add(LoggedActions(
            log["reward"][own], log["propensity"][own], np.take_along_axis(probability, action, 1)[:, 0], rows[own] % 4000,
            np.take_along_axis(model, action, 1)[:, 0], (probability * model).sum(1),
        ))  # fmt: skip
    return {name: interval.mean for name, interval in evaluation.result(resamples=resamples).values.items()}


def obps(log: Arrays, resamples: int) -> dict[str, float]:
    given = {
        "reward": log["reward"], "action": log["action"], "pscore": log["propensity"], "position": np.zeros(len(log["reward"]), dtype=int),
        "action_dist": log["target"][:, :, None], "estimated_rewards_by_reg_model": log["model"][:, :, None],
    }  # fmt: skip
    found = {}
    for name, make in PEERS.items():
        estimator = make()
        found[name] = float(estimator.estimate_policy_value(**given))
        if resamples:
            estimator.estimate_interval(**given, alpha=0.05, n_bootstrap_samples=resamples, random_state=7)
    return found


def open_bandit() -> Arrays:
    log = obp.dataset.OpenBanditDataset(behavior_policy="random", campaign="all").obtain_batch_bandit_feedback()
    clicks = np.bincount(log["action"], log["reward"], log["n_actions"]) + 1
    rate = clicks / (np.bincount(log["action"], minlength=log["n_actions"]) + 100)
    target = np.exp(rate * 100) / np.exp(rate * 100).sum()
    rows = log["n_rounds"]
    return {
        "reward": log["reward"].astype(float), "action": log["action"], "propensity": log["pscore"], "target": np.tile(target, (rows, 1)),
        "model": np.tile(rate, (rows, 1)),
    }  # fmt: skip


def made_up(rows: int, seed: int = 3) -> Arrays:
    draw = np.random.default_rng(seed)

    def policy(scale: float) -> np.ndarray:
        logits = draw.normal(0, scale, (rows, ACTIONS))
        return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    behavior, target, chance = policy(0.7), policy(0.7), draw.uniform(0.05, 0.6, (rows, ACTIONS))
    action = (behavior.cumsum(1) > draw.random((rows, 1))).argmax(1)
    at = np.arange(rows), action
    return {
        "reward": (draw.random(rows) < chance[at]).astype(float), "action": action, "propensity": behavior[at], "target": target,
        "model": np.clip(chance + draw.normal(0, 0.1, chance.shape), 0, 1),
    }  # fmt: skip


def slate_difference(slates: int = 2000, items: int = 12, length: int = 4) -> float:
    """Largest difference of a slate estimator's value from obp's, on draws of a behavior policy; cascade_dr's model says nothing true."""
    draw = np.random.default_rng(5)
    logits = {name: draw.normal(0, 1, (slates, items)) for name in ("behavior", "target")}
    action = np.argsort(-(logits["behavior"] + draw.gumbel(size=(slates, items))), axis=1)[:, :length]
    conditional, distribution = {}, {}
    for name, values in logits.items():
        left, given, whole = np.exp(values), [], []
        for position in range(length):
            share = left / left.sum(1, keepdims=True)
            whole.append(share)
            given.append(np.take_along_axis(share, action[:, position : position + 1], 1)[:, 0])
            left = left.copy()
            np.put_along_axis(left, action[:, position : position + 1], 0.0, 1)
        conditional[name], distribution[name] = np.stack(given, 1), np.stack(whole, 1)
    marginal = {name: item_position_marginals(values, action) for name, values in logits.items()}
    reward, model = draw.random((slates, length)), draw.random((slates, length, items))
    log = LoggedSlateArrays(
        reward, conditional["behavior"], conditional["target"], np.ones(reward.shape, dtype=bool), np.arange(slates),
        marginal["behavior"], marginal["target"], np.take_along_axis(model, action[..., None], 2)[..., 0],
        (distribution["target"] * model).sum(2),
    )  # fmt: skip
    evaluation = Evaluation(*OF_SLATES)
    evaluation.add(log)
    found = {name: interval.mean for name, interval in evaluation.result(resamples=2).values.items()}
    prefix = {name: values.cumprod(1).ravel() for name, values in conditional.items()}
    joint = {name: np.repeat(values.prod(1), length) for name, values in conditional.items()}
    rows = {"slate_id": np.repeat(np.arange(slates), length), "reward": reward.ravel(), "position": np.tile(np.arange(length), slates)}
    cascade = {"pscore_cascade": prefix["behavior"], "evaluation_policy_pscore_cascade": prefix["target"]}
    theirs = {
        "sips": obp.ope.SlateStandardIPS(length).estimate_policy_value(
            **rows, pscore=joint["behavior"], evaluation_policy_pscore=joint["target"]),
        "iips": obp.ope.SlateIndependentIPS(length).estimate_policy_value(
            **rows, pscore_item_position=marginal["behavior"].ravel(), evaluation_policy_pscore_item_position=marginal["target"].ravel()),
        "rips": obp.ope.SlateRewardInteractionIPS(length).estimate_policy_value(**rows, **cascade),
        "cascade_dr": obp.ope.SlateCascadeDoublyRobust(length, items).estimate_policy_value(
            **rows, **cascade, action=action.ravel(), q_hat=model.ravel(), evaluation_policy_action_dist=distribution["target"].ravel()),
    }  # fmt: skip
    print({name: (round(found[name], 9), round(float(value), 9)) for name, value in theirs.items()})
    return max(abs(found[name] - value) for name, value in theirs.items())


def child(side: str, path: str) -> None:
    """One run of a side over the file: prints its seconds, its peak memory beyond what it had before it read, and its values."""
    if side == "ours":
        import pyarrow.parquet  # noqa: F401

    before = _peak_mb()
    began = time.perf_counter()
    values = ours_of_file(path) if side == "ours" else obps(read(path), RESAMPLES)
    seconds = time.perf_counter() - began
    print(json.dumps({"s": seconds, "mb": _peak_mb() - before, "values": values}))


def _peak_mb() -> float:
    """Of this program's own memory: the system's ru_maxrss counts what its parent held when it was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def ours_of_file(path: str) -> dict[str, float]:
    """As a stream of record batches, of which one is held."""
    import pyarrow.parquet as pq

    evaluation, first = Evaluation(*OF_ACTIONS, knobs=KNOBS), 0
    for batch in pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20).iter_batches(65_536):
        log = _arrays(batch)
        at = np.arange(len(batch)), log["action"]
        expected = (log["target"] * log["model"]).sum(1)
        evaluation.add(LoggedActions(
            log["reward"], log["propensity"], log["target"][at], (first + at[0]) % 4000, log["model"][at], expected
        ))  # fmt: skip
        first += len(batch)
    return {name: interval.mean for name, interval in evaluation.result(resamples=RESAMPLES).values.items()}


def read(path: str) -> Arrays:
    import pyarrow.parquet as pq

    return _arrays(pq.read_table(path).combine_chunks())


def _arrays(table: object) -> Arrays:
    columns = {name: table[name] for name in ("reward", "action", "propensity", "target", "model")}
    columns = {name: column.chunk(0) if hasattr(column, "chunk") else column for name, column in columns.items()}
    return {
        name: column.flatten().to_numpy().reshape(-1, ACTIONS) if name in ("target", "model") else column.to_numpy()
        for name, column in columns.items()
    }


def measured(path: str) -> dict[str, list[dict]]:
    """PAIRS runs of each side, one after the other; the first pair warms the file's pages up and is left out."""
    runs: dict[str, list[dict]] = {"ours": [], "obp": [], "obp again": []}
    for number in range(PAIRS + 1):
        for side in runs:
            command = [sys.executable, "-m", "benchmarks.off_policy.against_obp", side.split()[0], path]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            if number:
                runs[side].append(json.loads(done.stdout.splitlines()[-1]))
        print(number, {side: (round(found[-1]["s"], 2), round(found[-1]["mb"])) for side, found in runs.items() if found}, flush=True)
    return runs


def main() -> None:
    log = open_bandit()
    here, there = ours(log, 2), obps(log, 0)
    print({name: (round(here[name], 9), round(there[name], 9)) for name in here})
    actions, slates = max(abs(here[name] - there[name]) for name in here), slate_difference()
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{scratch}/log.parquet"
        pd.DataFrame({name: list(values) if values.ndim > 1 else values for name, values in made_up(ROWS).items()}).to_parquet(path)
        runs = measured(path)
    large = max(abs(runs["ours"][0]["values"][name] - runs["obp"][0]["values"][name]) for name in PEERS)
    worst = float(max(actions, slates, large))
    write_result("off_policy_same_numbers", {
        "claim": "off-policy values are obp's (7 estimators of actions on Open Bandit small and 1 M rows, 4 of slates)", "row": "9",
        "unit": "largest difference", "ours": worst, "limit": CLOSE, "met": worst <= CLOSE, "measured": f"largest difference {worst:.1e}",
        "goal_text": f"at most {CLOSE:.0e}",
    })  # fmt: skip
    for what, key, goal in (("time", "s", FASTER), ("memory", "mb", LEANER)):
        ratio, low, high = median_ratio([one[key] for one in runs["obp"]], [one[key] for one in runs["ours"]])
        itself, _, _ = median_ratio([one[key] for one in runs["obp"]], [one[key] for one in runs["obp again"]])
        own, peer = (float(np.median([one[key] for one in runs[side]])) for side in ("ours", "obp"))
        write_result(f"off_policy_{what}", {
            "claim": f"off-policy evaluation of 1 M rows with intervals, {what} of obp over ours", "row": "9", "unit": "times", "ours": own,
            "peer": peer, "peer_name": "obp 0.5.7", "ratio": ratio, "low": low, "high": high, "limit": goal, "met": low >= goal,
            "peer_against_itself": itself, "valid": 0.95 <= itself <= 1.05, "cores": os.cpu_count(), "pairs": PAIRS,
            "measured": f"{ratio:.1f} times [{low:.1f}, {high:.1f}], {PAIRS} pairs; {own:.3g} {key} against {peer:.3g} {key}; "
            f"obp against itself {itself:.2f}", "goal_text": f"at least {goal:.0f} times",
        })  # fmt: skip


if __name__ == "__main__":
    child(*sys.argv[1:]) if len(sys.argv) > 1 else main()
