"""Whether a topic is still the one that was landed: the record that was taken last stands where it stood."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.settings import Settings, Source
from pipelines.steps.topic_ranges import PREFIX
from spark_jobs.landing_formats import RECORD

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COLUMNS = ["offset", "timestamp", RECORD]
EARLIEST, LATEST = -2, -1
Read = Callable[[str, str], "DataFrame"]


def check_same_topic(settings: Settings, source: Source, starts: Mapping[int, int], partitions: Iterable[int], read: Read) -> None:
    """Raises UserError where the record before a start is another than the one that was landed. What the broker dropped tells nothing.

    starts: the offset that comes next, of every partition that has landed or holds any; partitions: all of the topic; read: its records
    from these offsets by partition up to those (a batch may not begin at the latest).
    """
    known = {partition: found for partition, start in starts.items() if (found := _last_landed(settings, source, partition, start))}
    if not known:
        return
    begins, ends = ({str(p): _bound(p, known, starts, end) for p in partitions} for end in (False, True))
    records = read(json.dumps({source.topic: begins}), json.dumps({source.topic: ends}))
    for row in records.selectExpr("partition", "offset", "timestamp", f"value AS {RECORD}").toArrow().to_pylist():
        if row["partition"] in known and {name: row[name] for name in COLUMNS} != known[row["partition"]]:
            at = f"the record at offset {row['offset']} of partition {row['partition']}"
            raise UserError(
                f"topic {source.topic} at {source.brokers}: {at} is another than the one that was landed: the topic was made anew; "
                "to take it from its first record on, give its entry in lake.sources a name that it has not had"
            )


def _bound(partition: int, known: Mapping[int, Mapping[str, Any]], starts: Mapping[int, int], end: bool) -> int:
    """The one record that is known; nothing of a partition of which none is."""
    if partition in known:
        return int(known[partition]["offset"]) + end
    return starts.get(partition, LATEST if end else EARLIEST)


def _last_landed(settings: Settings, source: Source, partition: int, start: int) -> dict[str, Any] | None:
    """The record before this offset, from its landing file; None where that is gone, or of another make."""
    pattern = f"{PREFIX}{source.landing_name}-{partition}-*-{start:020d}.parquet"
    for path in (settings.landing / source.kind).glob(pattern):
        if path.stat().st_size:
            file = pq.ParquetFile(path)
            last = file.read_row_group(file.num_row_groups - 1, columns=COLUMNS)
            found: dict[str, Any] = last.slice(len(last) - 1).to_pylist()[0]
            return found
    return None
