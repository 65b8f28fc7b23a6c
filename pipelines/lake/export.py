"""A table as one file, for consumers that read no Delta table."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pipelines.errors import UserError
from pipelines.lake.tables import read_table
from pipelines.settings import Settings

Format = Literal["parquet", "csv", "jsonl"]


def current_scores(settings: Settings) -> pa.Table:
    """Sorted by user, surface and position. Raises UserError where there are none yet."""
    return read_table(settings, "scores").sort_by([(key, "ascending") for key in ("user_id", "surface", "position")])


def write_rows(rows: pa.Table, kind: Format, output: Path) -> None:
    """In one rename. CSV names the versions ``encoder_version``, ``ranker_version``, ``policy_version``; the others keep the struct.

    Raises UserError where the file cannot be written, or where a format has no place for lists.
    """
    if kind == "csv" and (lists := [field.name for field in rows.schema if pa.types.is_list(field.type)]):
        raise UserError(f"CSV has no place for the lists {', '.join(lists)}; choose --format parquet or jsonl")
    unfinished = output.with_name(f".{output.name}.tmp")
    try:
        _WRITERS[kind](rows, unfinished)
        os.replace(unfinished, output)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"cannot write {output}: {error.strerror or error}; choose another --output") from None


def _write_csv(rows: pa.Table, path: Path) -> None:
    flat = rows.flatten()
    names = [f"{name.removeprefix('versions.')}_version" if name.startswith("versions.") else name for name in flat.column_names]
    pa.csv.write_csv(flat.rename_columns(names), path)


def _write_jsonl(rows: pa.Table, path: Path) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        for batch in rows.to_batches(max_chunksize=10_000):
            lines = (json.dumps(row, ensure_ascii=False, default=lambda ts: ts.isoformat()) for row in batch.to_pylist())
            stream.writelines(line + "\n" for line in lines)


_WRITERS: dict[Format, Callable[[pa.Table, Path], None]] = {
    "parquet": lambda rows, path: pa.parquet.write_table(rows, path),
    "csv": _write_csv,
    "jsonl": _write_jsonl,
}
