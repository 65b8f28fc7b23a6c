"""Candidate sets of a log that says what was shown: each slate, with what came of it until now."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.evaluation.candidate_sets import COLUMNS, SURFACE, with_task_labels
from pipelines.lake.tables import read_table
from pipelines.settings import Settings

_READ = ("example_id", "revision", "user_id", "item_id", "ts", "query", "surface", "slate_id", "labels", "negative_source", "hour")


def shown_candidates(settings: Settings, tasks: Sequence[str]) -> pa.Table:
    """Rows as of ``read_candidates``, of the impressions after the log's first hour, oldest first, with the labels of all ``tasks``.

    A set is a slate; without slate ids, what a user was shown at one instant. Late feedback is in the labels.
    Hours with sampled negatives are left out: they do not say what was shown. Raises UserError where nothing is left.
    """
    rows = read_table(settings, "training_examples", columns=_READ)
    rows = rows.take(pc.sort_indices(rows, [("example_id", "ascending"), ("revision", "ascending")])).combine_chunks()
    ids = rows["example_id"].to_numpy(zero_copy_only=False)
    new = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, dtype=int)
    last = np.r_[new[1:], len(ids)] - 1 if len(ids) else new
    newest, place = rows["labels"].take(pa.array(last)), rows.column_names.index("labels")
    shown = rows.take(pa.array(new)).set_column(place, "labels", newest)
    silent = pc.unique(rows.filter(pc.field("negative_source").is_valid())["hour"])
    after_first = pc.strftime(shown["ts"], "%Y-%m-%dT%H"), pc.min(rows["hour"])
    kept = pc.and_(pc.equal(shown["revision"], 0), pc.invert(pc.is_in(shown["hour"], value_set=silent)))
    shown = shown.filter(pc.and_(kept, pc.greater(*after_first)))
    if not len(shown):
        raise UserError("the log says of no hour after its first what was shown; give candidate sets with --candidates FILE")
    moment = pc.binary_join_element_wise(shown["user_id"], pc.strftime(shown["ts"], "%Y-%m-%dT%H:%M:%SZ"), " ")
    label, *further = (pc.fill_null(pc.struct_field(shown["labels"], task), 0.0) for task in tasks)
    values = (pc.coalesce(shown["slate_id"], moment), shown["user_id"], shown["item_id"], shown["ts"], label)
    found = pa.table(dict(zip(COLUMNS, values, strict=True))).append_column("query", shown["query"])
    found = with_task_labels(found.append_column(SURFACE, shown[SURFACE]), dict(zip(tasks[1:], further, strict=True)))
    return found.sort_by([("ts", "ascending"), ("impression_id", "ascending"), ("item", "ascending")])
