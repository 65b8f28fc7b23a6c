"""Hash of a table's content: the same for any order of rows, files, batches, columns and map entries, and for any engine.

A row's hash adds up the mixed hashes of its values, each under its column's name; the content's hash adds up those of the rows.
Floats count bit by bit. 64 bits a row: meant against accidents, not against somebody who wants two contents to look alike.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.lake.tables import read_batches
from pipelines.settings import Settings

Hashes = NDArray[np.uint64]
_BYTES_AT_ONCE = 1 << 22


def content_hash(batches: Iterable[pa.RecordBatch], leave_out: Collection[str] = ()) -> str:
    """``<rows>:<32 hex>`` of all rows. ``leave_out``: columns that may differ, such as ``generated_at``."""
    rows, total, second = 0, np.uint64(0), np.uint64(0)
    for batch in batches:
        hashes = row_hashes(batch, [name for name in batch.schema.names if name not in leave_out])
        rows += len(hashes)
        total = _sum(total, hashes)
        second = _sum(second, _mixed(hashes ^ _of_text("second")))
    return f"{rows}:{total:016x}{second:016x}"


def table_hash(
    settings: Settings, name: str, *, hours: Sequence[str] | None = None, version: int | None = None, leave_out: Collection[str] = ()
) -> str:
    """Content hash of a table, or of some hours' partitions, read by delta-rs batch by batch."""
    return content_hash(read_batches(settings, name, hours=hours, version=version), leave_out)


def row_hashes(batch: pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """(rows,) uint64: equal for rows that are equal in these columns."""
    total = np.zeros(len(batch), np.uint64)
    for name in columns:
        total += _mixed(_hashes(batch.column(name)) ^ _of_text(name))
    return _mixed(total)


def _hashes(values: pa.Array) -> Hashes:
    """A hash a value; a null has its own."""
    if not len(values):
        return np.zeros(0, np.uint64)
    if isinstance(values, pa.DictionaryArray):
        return _hashes(values.dictionary_decode())
    of_kind = next((of for is_kind, of in _BY_KIND if is_kind(values.type)), _numbers)
    found = _mixed(of_kind(values) + _of_text("value"))
    if values.null_count:
        found[values.is_null().to_numpy(zero_copy_only=False)] = _of_text("null")
    return found


def _numbers(values: pa.Array) -> Hashes:
    """Integers, booleans and times as int64, floats by their bits; what else there is, by its text."""
    kind = values.type
    if pa.types.is_null(kind):
        return np.zeros(len(values), np.uint64)
    if pa.types.is_floating(kind):
        plain = values.fill_null(0).to_numpy(zero_copy_only=False)
        return np.asarray(plain.view(f"u{plain.itemsize}").astype(np.uint64))
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz), safe=False).view(pa.int64())
    elif pa.types.is_date32(kind):
        values = values.view(pa.int32())
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return _texts(values.cast(pa.string()))
    return np.asarray(values.cast(pa.int64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64))


def _texts(values: pa.Array) -> Hashes:
    """Each byte is hashed with its place, and a text is the sum of its bytes: one vector operation for all texts."""
    large = values.cast(pa.large_binary())
    buffers = large.buffers()
    ends = np.frombuffer(buffers[1], np.int64, len(large) + 1 + large.offset)[large.offset :]
    content = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.zeros(0, np.uint8)
    totals = np.zeros(len(large), np.uint64)
    for first, last in _pieces(ends):
        part = ends[first : last + 1]
        inside = content[part[0] : part[-1]].astype(np.uint64)
        place = np.arange(len(inside), dtype=np.uint64) - np.repeat((part[:-1] - part[0]).astype(np.uint64), np.diff(part))
        totals[first:last] = _sums(_mixed(inside | (place << np.uint64(8))), part - part[0])
    return totals + _mixed(np.diff(ends).astype(np.uint64))


def _pieces(ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of texts of at most _BYTES_AT_ONCE bytes together (one text may be longer)."""
    cuts, count = [0], len(ends) - 1
    while cuts[-1] < count:
        limit = int(np.searchsorted(ends, ends[cuts[-1]] + _BYTES_AT_ONCE, side="right")) - 1
        cuts.append(min(max(limit, cuts[-1] + 1), count))
    return list(pairwise(cuts))


def _lists(values: pa.Array) -> Hashes:
    """Elements with their place in the list."""
    lists = values if isinstance(values, pa.ListArray) else values.cast(pa.list_(values.type.value_type))
    ends = lists.offsets.to_numpy().astype(np.int64)
    inside = _hashes(lists.values.slice(ends[0], ends[-1] - ends[0]))
    ends, lengths = ends - ends[0], np.diff(ends)
    place = np.arange(len(inside), dtype=np.uint64) - np.repeat(ends[:-1].astype(np.uint64), lengths)
    return _sums(_mixed(inside ^ _mixed(place)), ends) + _mixed(lengths.astype(np.uint64))


def _maps(values: pa.MapArray) -> Hashes:
    """Entries in any order."""
    ends = values.offsets.to_numpy().astype(np.int64)
    first, count = ends[0], ends[-1] - ends[0]
    keys, found = _hashes(values.keys.slice(first, count)), _hashes(values.items.slice(first, count))
    return _sums(_mixed(_mixed(keys) + found), ends - first) + _mixed(np.diff(ends).astype(np.uint64))


def _structs(values: pa.StructArray) -> Hashes:
    """Fields by name, in any order."""
    total = np.zeros(len(values), np.uint64)
    for number, field in enumerate(values.type):
        total += _mixed(_hashes(values.field(number)) ^ _of_text(field.name))
    return total


def _is_text(kind: pa.DataType) -> bool:
    is_kind = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in is_kind)


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


_BY_KIND: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], Hashes]], ...] = (
    (_is_text, _texts), (pa.types.is_map, _maps), (_is_list, _lists), (pa.types.is_struct, _structs),
)  # fmt: skip


def _sums(values: Hashes, ends: NDArray[np.int64]) -> Hashes:
    """Sums of ``values`` between neighboring ends; they wrap around."""
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values, dtype=np.uint64)])
    return np.asarray(running[ends[1:]] - running[ends[:-1]])


def _sum(total: np.uint64, values: Hashes) -> np.uint64:
    return np.uint64((int(total) + int(values.sum(dtype=np.uint64))) % 2**64)


def _mixed(values: Hashes) -> Hashes:
    """The finalizer of splitmix64: neighbors end far apart. http://prng.di.unimi.it/splitmix64.c"""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


@cache
def _of_text(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"))
