"""Keys are unique, exactly, over the whole table and in bounded memory."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from pipelines.lake.content_hash import Hashes, row_hashes
from pipelines.lake.verify.files import KEY_BATCH_ROWS, LiveFile, read_batches
from pipelines.lake.verify.findings import EXAMPLES, Findings
from spark_jobs.contracts import Table

HASHES_AT_ONCE = 16_000_000  # 128 MB; a larger table is read once more for each further slice of its hashes
CANDIDATES = 1000


def check_keys(found: Findings, table: Table, files: Sequence[LiveFile]) -> None:
    """Names how many keys the table holds more than once, with examples."""
    repeated = _repeated_hashes(files, table.key)
    keys = _repeated_keys(files, table.key, repeated[:CANDIDATES]) if len(repeated) else {}
    if keys:
        shown = "; ".join(f"{count} x {key}" for key, count in list(keys.items())[:EXAMPLES])
        total = len(repeated) if len(repeated) > CANDIDATES else len(keys)
        found.add("key", table.name, f"key {', '.join(table.key)}", f"{total} keys more than once: {shown}", "each key once")


def _repeated_hashes(files: Sequence[LiveFile], key: Sequence[str]) -> Hashes:
    """Hashes that more than one row has, taken slice by slice of the hashes' range."""
    slices = np.uint64(1 + sum(file.rows or 0 for file in files) // HASHES_AT_ONCE)
    repeated = []
    for number in range(int(slices)):
        own = [hashes[hashes % slices == number] if slices > 1 else hashes for _, hashes in _hashed(files, key)]
        ordered = np.sort(np.concatenate([np.zeros(0, np.uint64), *own]))
        repeated.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    return np.concatenate(repeated)


def _repeated_keys(files: Sequence[LiveFile], key: Sequence[str], repeated: Hashes) -> dict[str, int]:
    """The keys of these hashes that really occur more than once: two keys may share a hash."""
    counts: Counter[str] = Counter()
    for batch, hashes in _hashed(files, key):
        where = np.flatnonzero(np.isin(hashes, repeated))
        if len(where):
            rows = batch.take(pa.array(where)).to_pylist()
            counts.update(", ".join(str(row[name]) for name in key) for row in rows)
    return {name: count for name, count in counts.items() if count > 1}


def _hashed(files: Sequence[LiveFile], key: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, Hashes]]:
    for file in files:
        for batch in read_batches(file, key, KEY_BATCH_ROWS):
            yield batch, row_hashes(batch, key)
