"""Rankers on rows that they have not learned from: the test-then-train record and the figures that the gates ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.artifacts import load_ranker
from models.metrics import user_difference
from models.ranker import Ranker
from pipelines.hours import hour_range, shift
from pipelines.lake.metrics import Metric
from pipelines.registry.gates import CONFIDENCE, Measured
from pipelines.registry.judging import Predicted, prequential_record, ranker_figures, task_columns, task_figures, user_codes
from pipelines.registry.release_files import wrong_model
from pipelines.registry.releases import ABSTAINED, REJECTED, ReleaseRow, all_releases, decision_for, release_folder
from pipelines.settings import Settings
from pipelines.steps.candidates import RANKER, candidate_folder
from pipelines.steps.encoders import read_version
from pipelines.steps.example_batches import ExampleReader, Rows, Window
from pipelines.steps.folds import in_gate_fold
from pipelines.steps.label_maturity import maturity_h

CANDIDATE_ARM, PRODUCTION_ARM, FROZEN_ARM, LINEAGE_ARM = "candidate", "production", "frozen", "lineage"
AGAIN, AGAIN_H = "turned_down_auc_difference", 24
_ROWS_AT_ONCE = 4096


def probabilities(ranker: Ranker, rows: Rows, reader: ExampleReader) -> NDArray[np.float64]:
    """(n,) of the first task at the logged positions."""
    return _by_task(ranker, rows, reader)[:, 0]


def _by_task(ranker: Ranker, rows: Rows, reader: ExampleReader) -> NDArray[np.float64]:
    """(n, T) at the logged positions, in the order of the reader's tasks; nan for one that the ranker does not know."""
    ranker.eval()
    with torch.no_grad():
        parts = [rows.batch.rows(slice(at, at + _ROWS_AT_ONCE)) for at in range(0, len(rows.batch), _ROWS_AT_ONCE)]
        found = torch.cat([ranker(part, reader.catalogue.table).sigmoid() for part in parts]).double().numpy()
    return task_columns(found, ranker.config.tasks, reader.tasks)


def prequential(reader: ExampleReader, hour: str, champion: ReleaseRow, lineage: Ranker) -> list[Metric]:
    """Production, the first release and the lineage on the newest hour, which none has seen; who reads another encoder is left out."""
    rows, first = reader.shown(hour), all_releases(reader.settings)[0]
    if not len(rows.user_ids):
        return []
    named = {PRODUCTION_ARM: champion, FROZEN_ARM: first}
    rankers = {arm: release_ranker(reader.settings, row) for arm, row in named.items()} | {LINEAGE_ARM: lineage}
    vectors = lineage.config.encoder_version
    found = {arm: _by_task(ranker, rows, reader) for arm, ranker in rankers.items() if ranker.config.encoder_version == vectors}
    versions = {arm: row.versions["ranker"] for arm, row in named.items() if arm in found}
    labels = rows.batch.labels.double().numpy()
    return prequential_record(Predicted(reader.tasks, labels, found, user_codes(rows.user_ids), rows.slices()), versions)


def looked_at_again(reader: ExampleReader, hour: str, lineage: Ranker) -> list[Metric]:
    """The candidate that was turned down AGAIN_H hours ago, on an hour that it never saw: its AUC per user less production's of then.

    Some users of the hour; nothing where none was turned down, or where models are gone or read another encoder's vectors.
    """
    settings, then = reader.settings, shift(hour, -AGAIN_H)
    row = decision_for(settings, then)
    if row is None or row.stage not in (REJECTED, ABSTAINED) or row.compared_with is None:
        return []
    folders = [candidate_folder(settings, then) / RANKER, release_folder(settings, row.compared_with) / RANKER]
    vectors = lineage.config.encoder_version
    if any(wrong_model(folder) or read_version(folder) != vectors for folder in folders):
        return []
    shown = reader.impressions(hour)
    part = in_gate_fold(settings, shown["user_id"], hour)
    rows = reader.rows(shown.filter(pa.array(part)))
    if not len(rows.user_ids):
        return []
    new, old = (probabilities(load_ranker(folder), rows, reader) for folder in folders)
    mean, low, high = user_difference(_labels(rows), new, old, user_codes(rows.user_ids), "auc_per_user", CONFIDENCE)
    if not np.isfinite(mean):
        return []
    return [Metric(AGAIN, row.stage, mean, low, high, len(rows.user_ids), model_version=row.versions[RANKER])]


@dataclass(frozen=True)
class Judged:
    """Gate figures, and what they rest on: labels and each ranker's probabilities (n,) on the gate fold."""

    figures: dict[str, Measured]
    labels: NDArray[np.float64]
    probabilities: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Seen:
    """The gates' window up to ``hour`` by a reader's vectors, and production on it; None where there is nothing to judge by yet."""

    reader: ExampleReader
    window: Window | None
    hour: str
    champion: ReleaseRow | None

    @cached_property
    def production(self) -> NDArray[np.float64]:
        """(n, T) what production says of the rows that judge."""
        assert self.window is not None and self.champion is not None
        return _by_task(release_ranker(self.reader.settings, self.champion), self.window.judging, self.reader)

    @cached_property
    def label_ages_h(self) -> dict[str, int]:
        """Of each further task the hours within which most of its reactions come; a task of which too little is known is left out."""
        return maturity_h(self.reader.examples, judged_hours(self.reader, self.hour), self.reader.tasks[1:])

    @cached_property
    def mature(self) -> dict[str, NDArray[np.bool_]]:
        """Of each task of ``label_ages_h`` the rows (n,) old enough for most of its reactions."""
        assert self.window is not None
        return {task: self.window.judging.hours <= shift(self.hour, -age) for task, age in self.label_ages_h.items()}


def judge(seen: Seen, candidate: Ranker, own: Seen | None = None) -> Judged:
    """Candidate against production on the window's gate-fold rows; only ``finite`` before the first release.

    own: the same rows as the candidate sees them, where it reads the vectors of another encoder than production.
    ``finite``: 1 where every weight, and every probability that the candidate gives to these rows, is a number.
    """
    measured = {"finite": _finite(all(bool(torch.isfinite(weight).all()) for weight in candidate.state_dict().values()))}
    window, own = seen.window, own or seen
    if seen.champion is None or window is None or own.window is None:
        return Judged(measured, np.zeros(0), {})
    if not 0 < _labels(window.judging).sum() < len(window.judging.user_ids):
        return Judged(measured, np.zeros(0), {})
    rows, old = window.judging, seen.production
    new = _by_task(candidate, own.window.judging, own.reader)
    found = {CANDIDATE_ARM: new[:, 0], PRODUCTION_ARM: old[:, 0]}
    if not np.isfinite(found[CANDIDATE_ARM]).all():
        return Judged({"finite": _finite(False)}, np.zeros(0), {})
    users, now = user_codes(rows.user_ids), rows.hours == seen.hour
    measured |= ranker_figures(_labels(rows), found[CANDIDATE_ARM], found[PRODUCTION_ARM], users, now, rows.slices())
    measured |= task_figures(seen.reader.tasks, rows.batch.labels.double().numpy(), new, old, users, seen.mature)
    return Judged(measured, _labels(rows), found)


def _finite(holds: bool) -> Measured:
    return Measured(float(holds), float(holds), float(holds), 1)


def judged_hours(reader: ExampleReader, hour: str) -> Sequence[str]:
    """The gates' window up to ``hour``, without poisoned hours and the first load, whose negatives were sampled."""
    settings = reader.settings
    first = shift(settings.lake.start_hour or hour, 1)
    return reader.teaching(hour_range(max(shift(hour, 1 - settings.gates.window_h), first), hour))


def release_ranker(settings: Settings, release: ReleaseRow) -> Ranker:
    return load_ranker(release_folder(settings, release.release_id) / RANKER)


def _labels(rows: Rows) -> NDArray[np.float64]:
    return rows.batch.labels[:, 0].double().numpy()
