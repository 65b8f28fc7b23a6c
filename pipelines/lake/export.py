"""The scored table as one file, for consumers that read no Delta table."""

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


def export_scores(settings: Settings, kind: Format, output: Path) -> int:
    """Writes the current scores, sorted by user, surface and position, in one rename; answers the number of rows.

    CSV names the versions ``encoder_version``, ``ranker_version``, ``policy_version``; the others keep the struct.
    Raises UserError where there are no scores yet or the file cannot be written.
    """
    rows = read_table(settings, "scores").sort_by([(key, "ascending") for key in ("user_id", "surface", "position")])
    unfinished = output.with_name(f".{output.name}.tmp")
    try:
        _WRITERS[kind](rows, unfinished)
        os.replace(unfinished, output)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"cannot write {output}: {error.strerror or error}; choose another --output") from None
    return len(rows)


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
