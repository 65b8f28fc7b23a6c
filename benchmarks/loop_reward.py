"""What the loop's slates were worth in the simulated world, beside the other ways to recommend: the demo's figures, by the truth.

    python benchmarks/loop_reward.py            # of the root $RECLOOP_HOME (default .recloop), after `recloop demo`

Expected reward a slate without click noise, from the loop's own state, over all live hours; differences with 95 % intervals,
users resampled. Writes benchmarks/results/loop_reward.json.
"""

import json
import os
from pathlib import Path

from pipelines.lake import ledger
from pipelines.lake.metrics import read_metrics
from pipelines.local.evaluation import LIVE, live_hours
from pipelines.settings import load_settings

RESULT = Path(__file__).parent / "results" / "loop_reward.json"


def main() -> None:
    settings = load_settings()
    hours = live_hours(settings)
    if not hours:
        raise SystemExit(f"no live hour under {settings.home}; run `recloop demo` first")
    found = [metric for metric in read_metrics(settings, hours[-1], "world_") if metric.slice == LIVE]
    rewards = {metric.subject: metric for metric in found if metric.name == "world_reward"}
    differences = {metric.subject: metric for metric in found if metric.name == "world_difference"}
    made_by = ledger.rows(settings, "promote_models", hours[-1])[-1].code_version
    over_frozen = differences["frozen_all"]
    result = {
        "claim": "the loop ends above everything frozen", "row": "reward", "unit": "expected reward a slate",
        "ours": rewards["loop"].value, "peer": rewards["frozen_all"].value, "peer_name": "everything frozen",
        "difference": over_frozen.value, "low": over_frozen.low, "high": over_frozen.high, "goal": 0.0,
        "met": over_frozen.low is not None and over_frozen.low > 0, "slates": rewards["loop"].n, "hours": len(hours),
        "arms": {arm: {"reward": metric.value, **_against(differences.get(arm))} for arm, metric in rewards.items()},
        "seeds": [settings.seed], "code_version": made_by, "cores": os.cpu_count(),
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def _against(metric: "object") -> dict[str, "object"]:
    names = {"value": "loop_minus_arm", "low": "low", "high": "high"}
    return {key: getattr(metric, name) for name, key in names.items()} if metric is not None else {}


if __name__ == "__main__":
    main()
