"""The rows of a CSV, JSON Lines or Parquet file, one after the other: a file may be larger than memory."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.importers.cells import Row
from pipelines.importers.mapping import Source

ENDINGS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
LONGEST = 10_000_000  # characters of a cell, of a line: an unclosed quote must not take the whole file into memory
BATCH = 10_000


def rows_of(path: Path, source: Source) -> Iterator[tuple[int, Row]]:
    """Number (from 1, in the order of the file) and cells of each row.

    Raises UserError where the file cannot be read as what it should be, or lacks a column that the mapping names.
    """
    readers = {"csv": _csv_rows, "jsonl": _json_rows, "parquet": _parquet_rows}
    try:
        yield from enumerate(readers[format_of(path, source)](path, source), start=1)
    except (UnicodeDecodeError, EOFError, OSError, zlib.error, pa.ArrowException) as error:
        about = f"{getattr(error, 'strerror', None) or error}"
        advice = "; set encoding in the mapping" if isinstance(error, UnicodeDecodeError) else ""
        raise UserError(f"{path}: cannot be read: {' '.join(about.split())}{advice}") from None


def format_of(path: Path, source: Source) -> str:
    """``csv``, ``jsonl`` or ``parquet``, as the mapping says or by the file's ending. Raises UserError for another ending."""
    ending = _ending(path)
    if source.format is None and ending not in ENDINGS:
        raise UserError(f"{path}: unknown ending {ending!r}; known are {', '.join(ENDINGS)}, or set format in the mapping")
    return source.format or ENDINGS[ending]


def check_columns(path: Path, source: Source, found: set[str]) -> None:
    """Raises UserError where the mapping names a column that is not there."""
    lacking = sorted(name for name in source.column_names() if name not in found and name.partition(".")[0] not in found)
    if lacking:
        there = ", ".join(sorted(found)) or "no column"
        raise UserError(f"{path}: has no column {lacking[0]!r}, which the mapping names; found {there}")


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")


def _csv_rows(path: Path, source: Source) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(LONGEST)
    delimiter = source.delimiter or ("\t" if _ending(path) == ".tsv" else ",")
    with io.TextIOWrapper(_opened(path), encoding=source.encoding, newline="") as stream:
        lines = csv.reader(stream, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if source.quoted else csv.QUOTE_NONE, strict=True)
        try:
            header = list(source.columns or next(lines, ()))
            _check_header(path, source, header)
            for line in lines:
                if len(line) not in (0, len(header)):
                    raise csv.Error(f"found {len(line)} cells, expected {len(header)} as in the header")
                if line:
                    yield dict(zip(header, line, strict=True))
        except csv.Error as error:
            raise UserError(f"{path}: line {lines.line_num}: {error}; mend it, or set delimiter or quoted in the mapping") from None


def _check_header(path: Path, source: Source, header: list[str]) -> None:
    check_columns(path, source, set(header))
    if twice := [name for name in header if header.count(name) > 1]:
        raise UserError(f"{path}: two columns are called {twice[0]!r}; rename one")


def _json_rows(path: Path, source: Source) -> Iterator[dict[str, Any]]:
    number = 0
    with io.TextIOWrapper(_opened(path), encoding=source.encoding, newline="\n") as stream:
        while line := stream.readline(LONGEST + 1):
            number += 1
            if line.strip():
                yield _json_object(path, number, line)


def _json_object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line) if len(line) <= LONGEST else None
    except (json.JSONDecodeError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise UserError(f"{path}: line {number}: expected one JSON object, found {line[:60].strip()!r}; mend or remove the line")
    return row


def _parquet_rows(path: Path, source: Source) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        check_columns(path, source, set(names))
        wanted = source.column_names()
        columns = [name for name in names if name in wanted or any(column.startswith(f"{name}.") for column in wanted)]
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            yield from _to_microseconds(batch).to_pylist()


def _to_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Python's times know no nanoseconds."""
    columns = [
        column.cast(pa.timestamp("us", tz=column.type.tz), safe=False) if pa.types.is_timestamp(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
