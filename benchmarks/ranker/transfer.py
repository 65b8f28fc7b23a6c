"""The hours that a new domain saves by beginning with another domain's ranker, on made-up streams (stream.py).

    python -m benchmarks.ranker.transfer

The source: two weeks of slates about four topics. The new domain: other people, other items, the other four topics, and an hour of
clicks as all that is known. Its hourly arm begins once untrained and once with the source's ranker (`recloop transfer`), all else is alike.
Hours saved: how much earlier the AUC of 24 hours reaches what the untrained start reaches at each day's end, over the days.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from benchmarks.paired import write_result
from benchmarks.ranker.stream import CANDIDATES, SEED, TASK, TOPICS, World, prepared
from models.artifacts import save_ranker
from models.metrics import auc
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY
from pipelines.lake.ledger import newest_hour
from pipelines.settings import Settings
from pipelines.steps.candidates import RANKER
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.retrain_learning import retrain, untrained
from pipelines.steps.step import Attempt
from pipelines.steps.transfer import transfer_folder

DAY, DAYS = 24, (1, 2, 3, 4, 5, 6, 7)
NAMES = list(TOPICS)
SOURCE, TARGET = World("none", SEED, NAMES[:4]), World("none", SEED + 1, NAMES[4:], history_h=1)


def learned(settings: Settings, into: Path) -> None:
    """A ranker of all that the source has shown."""
    last, version = newest_hour(settings, "build_features"), encoder_spec(settings).version
    reader = example_reader(Attempt(settings, "transfer", [last]), version)
    save_ranker(retrain(reader, reader.examples.hours, untrained(reader, reader.examples.hours, version)).state.served(), into)


def by_hour(scored: Scored) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels and logits of each hour, in order."""
    hours = pc.strftime(scored.table["ts"], "%Y-%m-%dT%H").to_numpy(zero_copy_only=False)
    labels, logits = scored.table["label"].to_numpy(), scored.logits[HOURLY.name]
    return [(labels[hours == hour], logits[hours == hour]) for hour in np.unique(hours)]


def auc_of_day(hours: Sequence[tuple[np.ndarray, np.ndarray]], end: int) -> float:
    """Of the hours up to ``end``, 24 or as many as there are."""
    labels, logits = (np.concatenate(part) for part in zip(*hours[max(0, end - DAY) : end], strict=True))
    return auc(labels, logits)


def hours_saved(untrained_start: Sequence, transferred: Sequence) -> list[int]:
    """For each day's end of the first: how much earlier the second is as good."""
    reached = [auc_of_day(transferred, end) for end in range(1, len(transferred) + 1)]
    found = []
    for day in DAYS:
        wanted = auc_of_day(untrained_start, day * DAY)
        first = next((end for end in range(1, len(reached) + 1) if reached[end - 1] >= wanted), len(reached))
        found.append(day * DAY - first)
    return found


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        homes = {name: Path(scratch) / name for name in ("source", "target")}
        for home in homes.values():
            home.mkdir()
        learned(prepared(homes["source"], SOURCE)[0], Path(scratch) / RANKER)
        settings, _ = prepared(homes["target"], TARGET, judged_from=1)
        runs = {"untrained": by_hour(evaluate(settings, homes["target"] / CANDIDATES, Path(scratch) / "scored.parquet")[TASK])}
        shutil.copytree(Path(scratch) / RANKER, transfer_folder(settings) / RANKER)
        runs["transferred"] = by_hour(evaluate(settings, homes["target"] / CANDIDATES, Path(scratch) / "scored.parquet")[TASK])
    figures = {name: {day: auc_of_day(hours, day * DAY) for day in DAYS} for name, hours in runs.items()}
    for day in DAYS:
        print(f"day {day}: AUC {figures['untrained'][day]:.4f} untrained, {figures['transferred'][day]:.4f} transferred")
    saved = hours_saved(runs["untrained"], runs["transferred"])
    first_day = f"AUC of the first day {figures['transferred'][1]:.4f} against {figures['untrained'][1]:.4f}"
    write_result("transfer_stream", {
        "claim": "hours that a new domain saves by another domain's ranker, made-up streams of other topics", "row": "5", "unit": "h",
        "ours": float(np.median(saved)), "saved_by_day": dict(zip(DAYS, saved, strict=True)), "auc": figures, "met": min(saved) > 0,
        "measured": f"median {np.median(saved):.0f} h, by the untrained start's day 1 to 7: {', '.join(map(str, saved))}; {first_day}, "
        "one pair of worlds", "goal_text": "above 0 on each day",
    })  # fmt: skip


if __name__ == "__main__":
    main()
