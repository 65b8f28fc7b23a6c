"""Landing files as records, one format each: where a record stands, its bytes as they came, and the JSON object that it says.

JSON Lines and CSV (both gzipped or not) and Parquet: of columns, or with the bytes of one JSON record a row (what a topic lands as).
Memory is bounded by a record, of Parquet by a row group, not by the file.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

RECORD = "record"  # the binary column of a Parquet file whose rows are JSON records, byte for byte
KEPT_BYTES = 16_000_000  # of a record that is longer than allowed
ENDINGS = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
_NESTED = ("tags", "context", "attributes", "image_vector")  # CSV cells that hold JSON


@dataclass(frozen=True)
class Record:
    """``number``: line (CSV: of its first line) or row, from 1. ``text``: one JSON object; None where the bytes do not give one."""

    number: int
    raw: bytes
    text: str | None
    oversized: bool = False


def records(path: str, max_bytes: int) -> Iterator[Record]:
    """Every record of the file in order; one longer than ``max_bytes`` is marked oversized. Raises OSError or ArrowInvalid."""
    if path.endswith(".parquet"):
        yield from _parquet(path, max_bytes)
        return
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as stream:
        reader = io.BufferedReader(stream)
        yield from _csv(reader, max_bytes) if ".csv" in Path(path).suffixes else _json_lines(reader, max_bytes)


def _json_lines(stream: BinaryIO, max_bytes: int) -> Iterator[Record]:
    for number, line in _lines(stream, max(max_bytes, KEPT_BYTES)):
        raw = line.rstrip(b"\r\n")
        if raw.strip():
            yield _record(number, raw, _decoded(raw), max_bytes)


def _lines(stream: BinaryIO, kept: int) -> Iterator[tuple[int, bytes]]:
    """Each line with its number; of one longer than ``kept`` bytes the rest is read over."""
    number = 0
    while line := stream.readline(kept):
        number += 1
        rest = line
        while len(rest) == kept and not rest.endswith(b"\n"):
            rest = stream.readline(kept)
        yield number, line


def _csv(stream: BinaryIO, max_bytes: int) -> Iterator[Record]:
    """Rows under a header of the contract's names; an empty cell is a field that is not there."""
    csv.field_size_limit(2**31 - 1)
    source = _Source(stream, max(max_bytes, KEPT_BYTES))
    header: list[str] | None = None
    while cells := source.row():
        number, raw = source.taken()
        if header is None:
            header = [name.strip() for name in cells]
        elif raw.strip():
            yield _record(number, raw, _row_text(header, cells), max_bytes)


class _Source:
    """Lines for the csv module, remembered until the record that they make is known."""

    def __init__(self, stream: BinaryIO, kept: int) -> None:
        self._lines, self._kept = _lines(stream, kept), kept
        self._first, self._held = 0, bytearray()

    def row(self) -> list[str] | None:
        """Cells of the next record, one empty cell where the lines are no row, None at the end. Too long a record ends where it is."""
        self._first, self._held = 0, bytearray()
        try:
            cells = next(csv.reader(self._feed()), None)
        except csv.Error:  # a carriage return in a field without quotes
            cells = None
        return cells or ([""] if self._held else None)

    def taken(self) -> tuple[int, bytes]:
        return self._first, bytes(self._held).rstrip(b"\r\n")

    def _feed(self) -> Iterator[str]:
        while len(self._held) < self._kept and (line := next(self._lines, None)) is not None:
            self._first = self._first or line[0]
            self._held += line[1]
            encoding = "utf-8-sig" if line[0] == 1 else "utf-8"
            yield line[1].decode(encoding, "surrogateescape")


def _row_text(header: list[str], cells: list[str]) -> str | None:
    if len(cells) != len(header) or any(_is_broken(cell) for cell in cells):
        return None
    found = {name: cell for name, cell in zip(header, cells, strict=True) if cell != ""}
    return json.dumps({name: _nested(cell) if name in _NESTED else cell for name, cell in found.items()}, ensure_ascii=False)


def _is_broken(text: str) -> bool:
    """Whether bytes that are no UTF-8 went into it."""
    return any("\udc80" <= char <= "\udcff" for char in text)


def _nested(cell: str) -> Any:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def _parquet(path: str, max_bytes: int) -> Iterator[Record]:
    with pq.ParquetFile(path) as file:
        yield from _row_bytes(file, max_bytes) if has_record_bytes(file.schema_arrow) else _rows(file, max_bytes)


def has_record_bytes(schema: pa.Schema) -> bool:
    """Whether a row is one record's bytes, and not its columns."""
    return RECORD in schema.names and schema.field(RECORD).type in (pa.binary(), pa.large_binary())


def _row_bytes(file: pq.ParquetFile, max_bytes: int) -> Iterator[Record]:
    """Each row's bytes; a null is no record, as an empty line is none."""
    number = 0
    for group in range(file.num_row_groups):
        for value in file.read_row_group(group, columns=[RECORD]).column(RECORD):
            number += 1
            if (raw := value.as_py()) is not None:
                yield _record(number, raw, _decoded(raw), max_bytes)


def _rows(file: pq.ParquetFile, max_bytes: int) -> Iterator[Record]:
    """Rows as JSON objects; there are no other bytes that could be kept."""
    number = 0
    for batch in file.iter_batches(batch_size=5000):
        for row in batch.to_pylist(maps_as_pydicts="lossy"):
            number += 1
            text = json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False, default=_plain)
            yield _record(number, text.encode(), text, max_bytes)


def _plain(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _record(number: int, raw: bytes, text: str | None, max_bytes: int) -> Record:
    return Record(number, raw, None if len(raw) > max_bytes else text, len(raw) > max_bytes)


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
