"""How an hour should be learned: learning rates and shares of replay beside the default, on the made-up stream (stream.py).

    make bench-stream            # or: python -m benchmarks.ranker.learning_policies none medium

Every policy begins with the same first load and predicts the same slates of the second week, each hour before it learns it. Writes one
file a policy and speed into benchmarks/results/: the default should be as good as the best where tastes drift, and lose nothing elsewhere.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.ranker.results import write_gains
from benchmarks.ranker.stream import CANDIDATES, SEED, TASK, World, prepared, workload
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY
from pipelines.settings import load_settings

LEAST = -0.001  # a policy that is better by more than this should be the default
TIMES = {"a third of the learning rate": 1 / 3, "three times the learning rate": 3.0}
REPLAY = {"no replay": 0.0, "half as much replay": 0.5, "twice the replay": 2.0}


def policies(lr: float, replay_ratio: float) -> dict[str, dict[str, str]]:
    """Name to what is set otherwise, the default first."""
    rates = {name: {"RECLOOP__RANKER__LR": str(lr * times)} for name, times in TIMES.items()}
    shares = {name: {"RECLOOP__RANKER__REPLAY_RATIO": str(replay_ratio * times)} for name, times in REPLAY.items()}
    return {HOURLY.name: {}, **rates, **shares}


def compared(home: Path, speed: str) -> Scored:
    """The hourly arm of every policy, and frozen weights, on the judged week."""
    settings, _ = prepared(home, World(speed, SEED))
    logits = {}
    for name, environ in policies(settings.ranker.lr, settings.ranker.replay_ratio).items():
        scored = evaluate(load_settings(home, environ), home / CANDIDATES, home / "scored.parquet")[TASK]
        logits[name] = scored.logits[HOURLY.name]
        logits["frozen weights"] = scored.logits["frozen weights"]
    return Scored(scored.table, logits, scored.known_user, scored.known_item)


def main() -> None:
    for speed in sys.argv[1:] or ("none", "medium"):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            found = compared(Path(scratch), speed)
        goals = dict.fromkeys((*TIMES, *REPLAY), ("1", LEAST))
        write_gains(found, f"learning_policies_{speed}", f"made-up stream, drift {speed}", goals, workload(speed))


if __name__ == "__main__":
    main()
