"""What the hourly arm gains, printed, and kept as one file a claim in benchmarks/results/."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY

RESULTS = Path(__file__).parent.parent / "results"


def write_gains(found: Scored, name: str, log: str, goals: Mapping[str, tuple[str, float]], workload: str) -> None:
    """``goals``: for each arm that is a peer, the row of the performance goals and what the gain's lower end should be above."""
    figures = {(one.slice, one.arm): one for one in found.figures()}
    for (part, arm), one in figures.items():
        print(f"{part:12} {arm:38} AUC {one.auc_per_set:.4f}  pooled {one.auc:.4f}  nDCG@10 {one.ndcg_10:.4f}  {one.rows:,} rows")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    ours = figures["all", HOURLY.name]
    for gain in found.gains(HOURLY.name):
        print(f"{gain.slice:12} over {gain.over:38} {gain.gain:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]  {gain.sets:,} sets")
        if gain.slice != "all" or gain.over not in goals:
            continue
        peer, (row, goal) = figures["all", gain.over], goals[gain.over]
        result = {
            "claim": f"hourly over {gain.over}, {log}", "row": row, "unit": "AUC within a candidate set", "ours": ours.auc_per_set,
            "peer": peer.auc_per_set, "peer_name": gain.over, "gain": gain.gain, "low": gain.low, "high": gain.high, "goal": goal,
            "met": gain.low > goal, "sets": gain.sets, "seeds": 1, "ndcg_10": ours.ndcg_10, "peer_ndcg_10": peer.ndcg_10,
            "workload": workload, "commit": commit, "cores": os.cpu_count(),
        }  # fmt: skip
        path = RESULTS / f"{name}_over_{gain.over.lower().replace(' ', '_')}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")
