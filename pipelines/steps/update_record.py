"""What an update changed and what it rests on: rows by what became of them, steps by layer, slices, and facts for the card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from models.step_norms import WHOLE, step_norms
from pipelines.hours import hour_range, shift
from pipelines.lake.metrics import Metric, metrics_by_hour
from pipelines.registry.auc_intervals import slice_differences, thin_slices
from pipelines.registry.judging import user_codes
from pipelines.settings import Settings
from pipelines.steps.bots import bot_rows
from pipelines.steps.example_batches import ExampleReader
from pipelines.steps.folds import in_gate_fold
from pipelines.steps.ranker_judging import CANDIDATE_ARM, PRODUCTION_ARM, Judged, Seen, judged_hours, release_ranker
from pipelines.steps.ranker_learning import Learned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.ranker import Ranker

CURVE_H = 168  # hours of the curve of AUC
ROWS = "update_rows"


@dataclass(frozen=True)
class UpdateRecord:
    """``rows``: examples by what became of them. ``served``, ``whole``: step by layer against production, of the candidate and of all
    that was learned; empty before the first release. ``slices``: where the candidate gains and loses, ``thin`` where too few rows say so.
    """

    rows: Mapping[str, int]
    served: Mapping[str, float]
    whole: Mapping[str, float]
    slices: Sequence[Metric]
    thin: Mapping[str, tuple[int, int]]
    params: Mapping[str, Any]

    def metrics(self) -> list[Metric]:
        """As rows of ``metrics``."""
        moved = [Metric("update_norm", name, steps[WHOLE]) for name, steps in (("ranker", self.served), ("whole", self.whole)) if steps]
        return [*(Metric(ROWS, name, float(count)) for name, count in self.rows.items()), *moved]

    def layers(self) -> dict[str, float]:
        """The candidate's step by layer, for the run."""
        return {f"step norm/{layer}": step for layer, step in self.served.items()}

    def pictures(self, settings: Settings, hour: str) -> "dict[str, Figure]":
        from pipelines.registry.ranker_charts import auc_figure, slices_figure, steps_figure

        by_hour = metrics_by_hour(settings, "prequential_auc_per_user", hour, CURVE_H, "all")
        found = {"auc by hour": auc_figure(by_hour)} if by_hour else {}
        found |= {"slices": slices_figure(self.slices, self.thin)} if self.slices else {}
        return found | ({"steps": steps_figure(self.served, self.whole)} if self.served else {})


def update_record(seen: Seen, hours: Sequence[str], learned: Learned, ranker: "Ranker", judged: Judged) -> UpdateRecord:
    """Of the pass over these hours, whose candidate is ``ranker``."""
    reader, champion, window = seen.reader, seen.champion, seen.window
    served, whole, slices, thin = dict[str, float](), dict[str, float](), list[Metric](), dict[str, tuple[int, int]]()
    if champion is not None:
        production = release_ranker(reader.settings, champion)
        served, whole = step_norms(ranker, production), step_norms(learned.state.served(), production)
    if window is not None and judged.probabilities:
        parts, users = window.judging.slices(), user_codes(window.judging.user_ids)
        parts = {"all": np.ones(len(users), dtype=bool)} | parts
        new, old = (judged.probabilities[name] for name in (CANDIDATE_ARM, PRODUCTION_ARM))
        slices, thin = slice_differences(judged.labels, new, old, users, parts), thin_slices(judged.labels, parts)
    rows = {"fresh": learned.fresh - learned.corrections, "corrections": learned.corrections, "replayed": learned.replayed}
    facts = _facts(seen, hours, learned, thin)
    return UpdateRecord(rows | left_out(reader, hours), served, whole, slices, thin, facts)


def left_out(reader: ExampleReader, hours: Sequence[str]) -> dict[str, int]:
    """Examples of these hours that did not teach, by the first reason that applied."""
    teaching = reader.teaching(hours)
    found = {"poisoned": reader.count([hour for hour in hours if hour not in teaching]), "too old": 0, "bots": 0, "gate fold": 0}
    for hour in teaching:
        rows = reader.newest_rows(hour, ["user_id", "ts", "labels", "negative_source"])
        bots = bot_rows(rows, reader.tasks[0])
        gate = in_gate_fold(reader.settings, rows["user_id"], reader.fold_hour or hour)
        found["too old"] += reader.count([hour]) - len(rows)
        found["bots"] += int(bots.sum())
        found["gate fold"] += int((gate & ~bots).sum())
    return found


def _facts(seen: Seen, hours: Sequence[str], learned: Learned, thin: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Parameters of the run: what its figures rest on, and what its card speaks of."""
    reader, window, settings, last = seen.reader, seen.window, seen.reader.settings, hours[-1]
    asked = hour_range(shift(last, 1 - settings.gates.window_h), last)
    held = sorted(reader.poisoned & {*asked, *hours})
    found = {
        "tasks": ", ".join(reader.tasks),
        "label_windows_h": ", ".join(f"{task} {settings.attribution_h.get(task, 0):g}" for task in reader.tasks),
        "learning_rate": learned.learning_rate,
        "replay_share": round(learned.replayed / (learned.fresh + learned.replayed), 4),
        "held_hours": ", ".join(held) or "none",
    }
    if window is None or not len(window.judging.user_ids):
        return found
    judged, users = judged_hours(reader, last), len(pc.unique(window.judging.user_ids))
    thin_words = "; ".join(f"{name} ({rows} rows, {positives} positive)" for name, (rows, positives) in thin.items())
    return found | {
        "judged_hours": f"{judged[0]}..{judged[-1]}", "judged_rows": len(window.judging.user_ids), "judged_users": users,
        "thin_slices": thin_words or "none",
        "label_maturity_h": ", ".join(f"{task} {age}" for task, age in seen.label_ages_h.items()) or "not known yet",
    }  # fmt: skip
