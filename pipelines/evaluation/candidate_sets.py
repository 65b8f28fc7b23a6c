"""Files of candidate sets, as somebody else's system ranked them, and of the scores that recloop gives them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import UserError
from spark_jobs.embeddings import search_text

COLUMNS = ("impression_id", "user", "item", "ts", "label")
SURFACE, _OF_TASK = "surface", "label_"


def of_task(table: pa.Table, task: str, first: bool) -> pa.Table | None:
    """The candidates with this task's labels as ``label``; None where they have none. ``label`` itself is of the first task."""
    if first or _OF_TASK + task not in table.column_names:
        return table if first else None
    return table.set_column(table.column_names.index("label"), "label", table[_OF_TASK + task])


def with_task_labels(table: pa.Table, labels: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Adds the labels of further tasks, where ``of_task`` finds them."""
    for task, values in labels.items():
        table = table.append_column(_OF_TASK + task, values)
    return table


def read_candidates(path: Path, tasks: Sequence[str]) -> pa.Table:
    """The columns of COLUMNS, ``query`` (null without one), and where they are there ``surface`` and ``label_<task>`` of further tasks.

    ``label`` is of the first of the ``tasks``. In the file's order, ts in UTC. Raises UserError for another file.
    """
    if not path.exists():
        raise UserError(f"no file {path}; give a CSV, JSON Lines or Parquet file with the columns {', '.join(COLUMNS)}")
    try:
        table = _READERS.get(path.suffix, pyarrow.csv.read_csv)(str(path))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}; expected CSV, JSON Lines or Parquet") from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise UserError(f"{path} has no column {missing[0]}; found {', '.join(table.column_names)}, expected {', '.join(COLUMNS)}")
    if not len(table):
        raise UserError(f"{path} holds no candidates")
    try:
        ts = table["ts"] if pa.types.is_timestamp(table["ts"].type) and table["ts"].type.tz else _times(table["ts"])
        values = [table[name].cast(pa.string()) for name in COLUMNS[:3]]
        values += [ts.cast(pa.timestamp("us", tz="UTC")), table["label"].cast(pa.float64())]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}; ts is ISO 8601 with an offset, label a number") from None
    further = [name.removeprefix(_OF_TASK) for name in table.column_names if name.startswith(_OF_TASK)]
    if unknown := [task for task in further if task not in tasks[1:]]:
        raise UserError(f"{path} has a column {_OF_TASK}{unknown[0]}; the tasks are {', '.join(tasks)}, and label is of {tasks[0]}")
    try:
        labels = {task: table[_OF_TASK + task].cast(pa.float64()) for task in further}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}; label_<task> is a number") from None
    if any(column.null_count for column in (*values, *labels.values())):
        raise UserError(f"{path} has empty cells; every one of {', '.join(COLUMNS)} and of label_<task> is needed in every row")
    found = pa.table(dict(zip(COLUMNS, values, strict=True))).append_column("query", _queries(table))
    if SURFACE in table.column_names:
        found = found.append_column(SURFACE, table[SURFACE].cast(pa.string()))
    return with_task_labels(found, labels)


def _queries(table: pa.Table) -> pa.Array:
    if "query" not in table.column_names:
        return pa.nulls(len(table), pa.string())
    return pa.array([search_text(query) or None if query else None for query in table["query"].cast(pa.string()).to_pylist()], pa.string())


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Raises ValueError for a time without an offset."""
    parsed = [datetime.fromisoformat(str(text)) for text in column.to_pylist()]
    if naive := next((one for one in parsed if one.tzinfo is None), None):
        raise ValueError(f"time {naive.isoformat()} has no offset")
    return pa.chunked_array([pa.array(parsed, pa.timestamp("us", tz="UTC"))])


def write_scores(table: pa.Table, logits: NDArray[np.float64], target: Path) -> None:
    """impression_id, item, score (log odds) and prob of the rows, all or nothing."""
    scored = table.select(["impression_id", "item"]).append_column("score", pa.array(logits))
    scored = scored.append_column("prob", pa.array(1 / (1 + np.exp(-logits))))
    unfinished = target.with_name(f".{target.name}.tmp")
    if target.suffix == ".parquet":
        pq.write_table(scored, unfinished)
    else:
        pyarrow.csv.write_csv(scored, unfinished)
    unfinished.replace(target)


_READERS = {".parquet": pq.read_table, ".jsonl": pyarrow.json.read_json, ".json": pyarrow.json.read_json}
