"""``recloop evaluate``: candidate sets, given or as they were shown, hour by hour, by the arms of the walk."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipelines.evaluation.candidate_sets import of_task, read_candidates, write_scores
from pipelines.evaluation.figures import Scored, as_record
from pipelines.evaluation.shown_sets import shown_candidates
from pipelines.evaluation.walk import ARMS, HOURLY, ScoredHour, walk
from pipelines.local.landing import write_file
from pipelines.settings import Settings


def evaluate(
    settings: Settings, source: Path | None, target: Path, record: Path | None = None,
    on_hour: Callable[[ScoredHour], None] = lambda _: None, heads: Sequence[str] = (),
) -> dict[str, Scored]:  # fmt: skip
    """Scores every row of ``source`` (columns impression_id, user, item, ts, label) and writes impression_id, item, score, prob.

    Without a source: of what the log says was shown (``shown_candidates``). The written scores are those of the hourly arm: log odds and
    probability of the first task, topmost position. Rows keep their order. ``record``: a JSON file of all figures. ``heads``: the tasks
    that are learned, in place of the domain's; counters stay. Answers the first task, and each further one whose labels are there.
    Raises UserError for a file that is not one of candidates, or as ``walk`` says.
    """
    tasks = tuple(heads) or settings.reward.tasks
    table = shown_candidates(settings, tasks) if source is None else read_candidates(source, tasks)
    logits = {arm.name: np.full((len(table), len(tasks)), np.nan) for arm in ARMS}
    known_user, known_item = np.zeros(len(table), dtype=bool), np.zeros(len(table), dtype=bool)
    for found in walk(settings, table, tasks):
        for arm, values in found.logits.items():
            logits[arm][found.rows] = values
        known_user[found.rows], known_item[found.rows] = found.view.known(found.part)
        on_hour(found)
    write_scores(table, logits[HOURLY.name][:, 0], target)
    scored = dict[str, Scored]()
    for number, task in enumerate(tasks):
        labelled = of_task(table, task, number == 0)
        if labelled is not None and (number == 0 or pc.any(pc.greater_equal(labelled["label"], 0.5)).as_py()):
            there = {arm: values[:, number] for arm, values in logits.items() if not np.isnan(values[:, number]).all()}
            scored[task] = Scored(labelled, there, known_user, known_item)
    if record is not None:
        write_file(record, (json.dumps(as_record(scored, HOURLY.name), indent=2) + "\n").encode())
    return scored
