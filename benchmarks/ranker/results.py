"""What the hourly arm gains, printed, and kept as one file a claim in benchmarks/results/."""

import json
import os
from collections.abc import Mapping
from typing import Any

from benchmarks.paired import RESULTS, commit
from pipelines.evaluation.figures import Gain, Scored
from pipelines.evaluation.walk import HOURLY


def write_gains(
    found: Scored, name: str, log: str, goals: Mapping[str, tuple[str, float]], workload: str,
    by_seed: Mapping[int, Scored] | None = None, settings_of: Mapping[str, dict[str, Any]] | None = None, as_default: str = "",
) -> None:  # fmt: skip
    """``goals``: for each arm that is a peer, the row of the performance goals and what the gain's lower end should be above.

    ``by_seed``: the runs that ``found`` joins. ``settings_of``: the settings that were chosen for a peer; the same peer with its default
    setting is the arm of its name and ``as_default``.
    """
    figures = {(one.slice, one.arm): one for one in found.figures()}
    for (part, arm), one in figures.items():
        print(f"{part:12} {arm:56} AUC {one.auc_per_set:.4f}  pooled {one.auc:.4f}  nDCG@10 {one.ndcg_10:.4f}  {one.rows:,} rows")
    gains = {(gain.slice, gain.over): gain for gain in found.gains(HOURLY.name)}
    for gain in gains.values():
        print(f"{gain.slice:12} over {gain.over:56} {gain.gain:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]  {gain.sets:,} sets")
    ours = figures["all", HOURLY.name]
    parts = [part for part in found.slices() if part != "all"]
    for over, (row, goal) in goals.items():
        if ("all", over) not in gains:
            continue
        gain, peer = gains["all", over], figures["all", over]
        result = {
            "claim": f"hourly over {over}, {log}", "row": row, "unit": "AUC within a candidate set", "ours": ours.auc_per_set,
            "peer": peer.auc_per_set, "peer_name": over, "gain": gain.gain, "low": gain.low, "high": gain.high, "goal": goal,
            "met": gain.low > goal, "sets": gain.sets, "seeds": 1, "ndcg_10": ours.ndcg_10, "peer_ndcg_10": peer.ndcg_10,
            "auc_per_user": [ours.auc_per_user, peer.auc_per_user], "auc_pooled": [ours.auc, peer.auc],
            "slices": {part: _interval(gains[part, over]) for part in parts if (part, over) in gains},
            "workload": workload, "commit": commit(), "cores": os.cpu_count(),
        }  # fmt: skip
        if by_seed:
            result |= {"seeds": len(by_seed), "gain_by_seed": {str(seed): _gain(run, over) for seed, run in by_seed.items()}}
        if settings_of and over in settings_of:
            result["peer_setting"] = settings_of[over]
        if ("all", over + as_default) in figures and as_default:
            result["peer_default"] = figures["all", over + as_default].auc_per_set
        path = RESULTS / f"{name}_over_{over.lower().replace(' ', '_')}.json"
        path.write_text(json.dumps(result, indent=2) + "\n")


def _interval(gain: Gain) -> dict[str, float]:
    return {"gain": gain.gain, "low": gain.low, "high": gain.high, "sets": gain.sets}


def _gain(run: Scored, over: str) -> float:
    return next(gain.gain for gain in run.gains(HOURLY.name) if (gain.slice, gain.over) == ("all", over))
