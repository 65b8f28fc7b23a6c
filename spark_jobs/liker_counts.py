"""Who took to which item, counted in memory: added up from increments, and taken off again."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.likers import BUCKETS, Likers
from spark_jobs.catalogue import Catalogue, liker_entries

Rows = NDArray[np.int64]


class LikerCounts:
    """Signed counts by item and bucket, of items in the order in which they were met."""

    def __init__(self) -> None:
        self._ids = pa.array([], pa.string())
        self._key: Rows = np.zeros(0, dtype=np.int64)  # item x BUCKETS + bucket, ascending
        self._amount: Rows = np.zeros(0, dtype=np.int64)

    def add_entries(self, item_ids: pa.Array, bucket: Rows, amount: Rows) -> None:
        """Entries (M,); a pair of item and bucket may come several times."""
        place = pc.index_in(item_ids, value_set=self._ids)
        if place.null_count:
            self._ids = pa.concat_arrays([self._ids, pc.unique(item_ids.filter(place.is_null()))])
            place = pc.index_in(item_ids, value_set=self._ids)
        keys, inverse = np.unique(place.to_numpy().astype(np.int64) * BUCKETS + bucket, return_inverse=True)
        amounts = np.bincount(inverse, amount, minlength=len(keys)).astype(np.int64)
        where = np.searchsorted(self._key, keys)
        known = np.append(self._key, -1)[where] == keys
        self._amount[where[known]] += amounts[known]
        self._key, self._amount = (
            np.insert(old, where[~known], new[~known]) for old, new in ((self._key, keys), (self._amount, amounts))
        )

    def add(self, table: pa.Table) -> None:
        """Rows of ``item_hour`` or ``item_features``."""
        row, bucket, amount = liker_entries(table)
        self.add_entries(table["item_id"].combine_chunks().take(pa.array(row)), bucket, amount)

    def take_off(self, table: pa.Table) -> None:
        """Rows that were added before."""
        row, bucket, amount = liker_entries(table)
        self.add_entries(table["item_id"].combine_chunks().take(pa.array(row)), bucket, -amount)

    def column(self, item_ids: pa.Array, kind: pa.DataType) -> pa.Array:
        """The column ``likers`` of these items, by bucket; null where nobody took to one."""
        there = self._amount != 0
        key, amount = self._key[there], self._amount[there]
        place = pc.fill_null(pc.index_in(item_ids, value_set=self._ids), -1).to_numpy().astype(np.int64)
        first, last = (np.searchsorted(key, (place + more) * BUCKETS) for more in (0, 1))
        count = np.where(place >= 0, last - first, 0)
        ends = np.cumsum(count)
        source = np.repeat(first - (ends - count), count) + np.arange(count.sum())
        entries = pa.StructArray.from_arrays(
            [pa.array((key[source] % BUCKETS).astype(np.int32)), pa.array(amount[source].astype(np.int32))], fields=list(kind.value_type)
        )
        return pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), entries, type=kind, mask=pa.array(count == 0))

    def likers(self, catalogue: Catalogue) -> Likers:
        row = catalogue.rows(self._ids)[self._key // BUCKETS] if len(self._key) else self._key
        return Likers.of_counts(row, self._key % BUCKETS, self._amount, len(catalogue.ids))
