"""The data files of a table's newest version, read whole: counts out of statistics prove nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from pipelines.errors import UserError
from pipelines.hours import parse_hour
from pipelines.lake.verify.delta_log import one_line
from pipelines.lake.verify.findings import Findings
from spark_jobs.contracts import Table

BATCH_ROWS, KEY_BATCH_ROWS = 4096, 65_536


@dataclass(frozen=True)
class LiveFile:
    """A file as the log describes it; ``rows`` is None where the log keeps no statistics of it."""

    path: Path
    name: str
    size: int
    rows: int | None
    partition: dict[str, str | None]

    @property
    def hour(self) -> str | None:
        return self.partition.get("hour")


@dataclass
class Content:
    """What was really read of a table: the files with nothing wrong. ``whole``: these are all."""

    files: list[LiveFile] = field(default_factory=list)
    rows: int = 0
    rows_by_hour: Counter[str | None] = field(default_factory=Counter)
    whole: bool = True


def live_files(table: DeltaTable, folder: Path) -> list[LiveFile]:
    """Files of the version, by the log."""
    rows = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return [_live_file(row, folder) for row in rows]


def read_batches(file: LiveFile, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """The file's rows with its partition columns; page checksums are verified where the writer left them (Spark does)."""
    own = [name for name in columns if name not in file.partition] if columns is not None else None
    options = {"page_checksum_verification": True, "coerce_int96_timestamp_unit": "us"}
    with pq.ParquetFile(file.path, pre_buffer=False, **options) as parquet:
        for batch in parquet.iter_batches(batch_rows, columns=own):
            yield _with_partition(_without_views(batch), file.partition)


def check_files(found: Findings, table: Table, files: Sequence[LiveFile]) -> Content:
    """Reads every file of the version to its end; what cannot be read, or holds other than the log says, is named."""
    content = Content()
    required = [column.name for column in table.schema if not column.nullable]
    for file in files:
        _check_hour(found, table, file)
        wrong = _wrong_size(file)
        if wrong is None:
            rows, nulls, wrong = _read(file, required)
            content.rows += rows
            content.rows_by_hour[file.hour] += rows
            for name, count in nulls.items():
                found.add("null", table.name, f"file {file.name}", f"{count} nulls in {name}", "a value in each row")
        if wrong is None:
            content.files.append(file)
        else:
            content.whole = False
            found.add("file", table.name, f"file {file.name}", wrong, _described(file))
    return content


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """delta-rs may leave ``string_view`` columns, of which Arrow cannot take or filter rows."""
    plain = [field.with_type(pa.string()) if pa.types.is_string_view(field.type) else field for field in batch.schema]
    return batch.cast(pa.schema(plain))


def _with_partition(batch: pa.RecordBatch, partition: dict[str, str | None]) -> pa.RecordBatch:
    """The log says in which partition a file lies, whether the file repeats it or not."""
    for name, value in partition.items():
        if name in batch.schema.names:
            batch = batch.drop_columns([name])
        batch = batch.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(batch)))
    return batch


def _read(file: LiveFile, required: Sequence[str]) -> tuple[int, Counter[str], str | None]:
    """Rows read, nulls where none may be, and what is wrong with the file."""
    rows, nulls = 0, Counter[str]()
    try:
        for batch in read_batches(file):
            rows += len(batch)
            for name in required:
                held = batch.column(name).null_count if name in batch.schema.names else len(batch)
                if held:
                    nulls[name] += held
    except (OSError, pa.ArrowException) as error:
        return rows, nulls, f"cannot be read after row {rows}: {one_line(error)}"
    wrong = f"{rows} rows" if file.rows is not None and rows != file.rows else None
    return rows, nulls, wrong


def _wrong_size(file: LiveFile) -> str | None:
    try:
        size = file.path.stat().st_size
    except OSError:
        return "missing"
    return f"{size} bytes" if size != file.size else None


def _described(file: LiveFile) -> str:
    return f"{file.size} bytes" + (f", {file.rows} rows" if file.rows is not None else "")


def _check_hour(found: Findings, table: Table, file: LiveFile) -> None:
    if "hour" not in table.partition:
        return
    try:
        parse_hour(file.hour or "")
    except UserError:
        found.add("hour", table.name, f"file {file.name}", f"hour {file.hour!r}", "an hour as YYYY-MM-DDTHH")


def _live_file(row: dict[str, object], folder: Path) -> LiveFile:
    name, size, rows = str(row["path"]), row["size_bytes"], row.get("num_records")
    partition = {key.removeprefix("partition."): value for key, value in row.items() if key.startswith("partition.")}
    values = {key: None if value is None else str(value) for key, value in partition.items()}
    return LiveFile(folder / name, name, int(str(size)), None if rows is None else int(str(rows)), values)
