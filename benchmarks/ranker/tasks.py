"""What a second task costs the first one, and what the first one gives to a rare second, on a made-up stream (stream.py).

    python -m benchmarks.ranker.tasks [SEED ...]         # default: 7 8 9

People click, and buy some of what they clicked: by the same taste and an appeal of the item's own. The ranker learns clicks alone,
purchases alone, and both with a head each, from the same examples with the same counters of both.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.paired import write_result
from benchmarks.ranker.bench import joined
from benchmarks.ranker.stream import CANDIDATES, SEED, World, prepared, workload
from pipelines.evaluation.candidate_sets import COLUMNS, of_task, read_candidates
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY

SPEED, TASKS = "medium", ("click", "purchase")
TOGETHER, ALONE = "both tasks", "one task"
LEAST = {"click": -0.001, "purchase": 0.0}
CLAIMS = {"click": "a second task costs the first (clicks, beside purchases)", "purchase": "a rare task gains from the first (purchases)"}


def compared(home: Path, seed: int) -> dict[str, Scored]:
    """By task: the hourly arm of the ranker of both tasks and of that task alone."""
    settings, _ = prepared(home, World(SPEED, seed, buys=True))
    rows, found = read_candidates(home / CANDIDATES, settings.reward.tasks), {}
    for task in TASKS:
        pq.write_table(of_task(rows, task, task == TASKS[0]).select(COLUMNS), home / f"{task}.parquet")
        found[task] = evaluate(settings, home / f"{task}.parquet", home / "scored.parquet", heads=[task])[task]
    pq.write_table(rows.select([*COLUMNS, f"label_{TASKS[1]}"]), home / "both.parquet")
    both = evaluate(settings, home / "both.parquet", home / "scored.parquet", heads=TASKS)
    arms = {task: {TOGETHER: both[task].logits[HOURLY.name], ALONE: found[task].logits[HOURLY.name]} for task in TASKS}
    return {task: Scored(_of_world(one.table, seed), arms[task], one.known_user, one.known_item) for task, one in found.items()}


def _of_world(table: pa.Table, seed: int) -> pa.Table:
    """Users of two worlds are not the same people."""
    user = pc.binary_join_element_wise(str(seed), table["user"], " ")
    return table.set_column(table.column_names.index("user"), "user", user)


def main() -> None:
    seeds, runs = [int(seed) for seed in sys.argv[1:]] or [SEED, SEED + 1, SEED + 2], {}
    for seed in seeds:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            runs[seed] = compared(Path(scratch), seed)
    for task in TASKS:
        scored = joined({seed: run[task] for seed, run in runs.items()})
        gain = next(gain for gain in scored.gains(TOGETHER) if gain.slice == "all")
        auc = {one.arm: one.auc_per_set for one in scored.figures() if one.slice == "all"}
        labels, interval = np.asarray(scored.table["label"]), f"{gain.gain:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        write_result(f"tasks_{task}", {
            "claim": f"{CLAIMS[task]}, made-up stream", "row": "2", "unit": "AUC within a candidate set", "ours": auc[TOGETHER],
            "peer": auc[ALONE], "peer_name": "the task alone", "gain": gain.gain, "low": gain.low, "high": gain.high, "seeds": len(seeds),
            "goal": LEAST[task], "met": gain.low > LEAST[task], "workload": workload(SPEED), "goal_text": f"above {LEAST[task]:+.3f}",
            "measured": f"{auc[TOGETHER]:.4f} together against {auc[ALONE]:.4f} alone: {interval} AUC within a candidate set, "
            f"{labels.mean():.1%} of {len(labels):,} rows positive, {len(seeds)} worlds",
        })  # fmt: skip


if __name__ == "__main__":
    main()
