"""Records of a topic as Parquet files: the executors write them batch by batch, so that memory holds neither topic nor file."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from spark_jobs.landing_formats import RECORD

UNFINISHED = ".topic-*.tmp"
ROW_GROUP_BYTES = 16_000_000
SCHEMA = pa.schema([
    (RECORD, pa.binary()), ("partition", pa.int32()), ("offset", pa.int64()), ("timestamp", pa.timestamp("us", "UTC")),
])  # fmt: skip


def write_files(records: DataFrame, folder: str, most: int) -> DataFrame:
    """Writes each topic partition's first ``most`` records in offset order; one row a file: partition, first, last, count, path.

    A Spark partition of ``records`` holds one topic partition, as the Kafka source makes them. The names begin with a dot.
    A partition with more than ``most`` records ends its Python worker: what is left unread cannot be taken back.
    """

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        path = Path(folder) / UNFINISHED.replace("*", uuid.uuid4().hex)
        if (written := _write_file(batches, path, most)) is not None:
            yield pa.RecordBatch.from_pylist([{**written, "path": str(path)}])

    return records.selectExpr(f"value AS {RECORD}", "partition", "offset", "timestamp").mapInArrow(
        write, "partition bigint, first bigint, last bigint, count bigint, path string"
    )


def first_offsets(records: DataFrame) -> DataFrame:
    """One row a topic partition that holds records: partition and the offset of its first one.

    What is left unread ends the Python worker, and with it the models that it holds: to be asked only where something is wrong.
    """

    def first(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield batch.slice(0, 1)
                return

    return records.select("partition", "offset").mapInArrow(first, "partition int, offset bigint")


def _write_file(batches: Iterator[pa.RecordBatch], path: Path, most: int) -> dict[str, int] | None:
    """Partition, first and last offset and count of what was written; None where there was nothing, and then no file."""
    batch = next((batch for batch in batches if batch.num_rows), None)
    if batch is None:
        return None
    partition, first, last, count = batch["partition"][0].as_py(), batch["offset"][0].as_py(), -1, 0
    with path.open("wb") as stream:
        with pq.ParquetWriter(stream, SCHEMA) as writer:
            while batch is not None:
                batch = batch.slice(0, most - count)
                rows = max(1, batch.num_rows * ROW_GROUP_BYTES // max(batch.nbytes, 1))
                writer.write_table(pa.Table.from_batches([batch]).cast(SCHEMA), row_group_size=rows)
                count, last = count + batch.num_rows, batch["offset"][-1].as_py()
                batch = next(batches, None) if count < most else None
        stream.flush()
        os.fsync(stream.fileno())
    return {"partition": partition, "first": first, "last": last, "count": count}
