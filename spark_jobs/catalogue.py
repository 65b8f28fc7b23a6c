"""The catalogue as arrays: item rows, text vectors, tags and ages, the same in training, scoring and evaluation.

Row n + 1 stands for the n-th item id in sorted order; row 0 is padding and every unknown item.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from models.hashing import id_hash
from models.records import ItemState, ItemTable
from spark_jobs.contracts import COUNTERS
from spark_jobs.counters import decayed, matrix, with_rates

MICROSECONDS_AN_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Catalogue:
    """N items in id order. ``tags`` (N+1, G): unit rows; ``published_us`` (N+1,): microseconds since 1970, 0 where unknown."""

    ids: pa.Array
    table: ItemTable
    tags: torch.Tensor
    published_us: NDArray[np.int64]
    available: NDArray[np.bool_]
    hashes: NDArray[np.uint64]

    def rows(self, item_ids: pa.Array) -> NDArray[np.int64]:
        """Item row of each id; 0 for an unknown one."""
        found = pc.fill_null(pc.index_in(item_ids, value_set=self.ids), -1)
        return found.to_numpy(zero_copy_only=False).astype(np.int64) + 1

    def age_h(self, rows: NDArray[np.int64], first_seen_us: NDArray[np.int64], at_us: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """Hours since publication of these item rows (n,), where that is not known since ``first_seen_us`` (0: never seen), else 0."""
        since_us = np.where(self.published_us[rows] > 0, self.published_us[rows], first_seen_us)
        return np.where(since_us > 0, np.maximum(at_us - since_us, 0), 0) / MICROSECONDS_AN_HOUR


def build_catalogue(items: pa.Table, embeddings: pa.Table, encoder_version: str) -> Catalogue:
    """From the current ``items`` (one row an item) and ``item_embeddings``; an item without a vector gets zeros."""
    items = items.sort_by("item_id")
    ids = items.column("item_id").combine_chunks()
    own = embeddings.filter(pc.field("encoder_version") == encoder_version)
    place = pc.index_in(own.column("item_id"), value_set=ids).to_numpy(zero_copy_only=False)
    width = len(own.column("vector")[0]) if len(own) else 1
    vectors = np.zeros((len(ids), width), dtype=np.float32)
    known = ~np.isnan(place.astype(float))
    flat = own.column("vector").combine_chunks().flatten().to_numpy().reshape(-1, width)
    vectors[place[known].astype(int)] = flat[known]
    return Catalogue(
        ids=ids,
        table=ItemTable.from_numpy(vectors),
        tags=torch.from_numpy(_tags(items)),
        published_us=np.concatenate([[0], microseconds(items.column("published_at"))]),
        available=np.concatenate([[False], items.column("available").to_numpy()]),
        hashes=np.concatenate([np.zeros(1, np.uint64), id_hash(ids.to_pylist())]),
    )


def current_rows(items: pa.Table) -> pa.Table:
    """The last row of each item's history."""
    order = items.sort_by([("item_id", "ascending"), ("updated_hour", "ascending")])
    ids = order.column("item_id").to_pylist()
    last = [number for number, item in enumerate(ids) if number + 1 == len(ids) or ids[number + 1] != item]
    return order.take(last)


def item_state(catalogue: Catalogue, features: pa.Table, at: datetime, names: tuple[str, ...]) -> ItemState:
    """Counters of every row decayed to ``at``, in the order of ``names``; an item nobody met has zeros."""
    at_us = int(at.timestamp() * 1e6)
    counters = np.zeros((len(catalogue.ids) + 1, len(COUNTERS)))
    rows = catalogue.rows(features.column("item_id").combine_chunks())
    counters[rows] = decayed(matrix(features), microseconds(features.column("as_of")), at_us)
    first_seen_us = np.zeros(len(counters), dtype=np.int64)
    first_seen_us[rows] = microseconds(features.column("first_seen"))
    counters[0], first_seen_us[0] = 0.0, 0
    age = torch.from_numpy(catalogue.age_h(np.arange(len(counters)), first_seen_us, at_us).astype(np.float32))
    return ItemState(counters=torch.from_numpy(with_rates(counters, names).astype(np.float32)), age_h=age)


def fresh_items(catalogue: Catalogue, items: ItemState, fresh_hours: float) -> torch.Tensor:
    """(N+1,) bool: available and at most this old; an item of unknown date that nobody met (age 0) is not news."""
    return (items.age_h > 0) & (items.age_h <= fresh_hours) & torch.from_numpy(catalogue.available)


def _tags(items: pa.Table) -> NDArray[np.float32]:
    """(N+1, G) one column a tag or category, each row of length 1."""
    labels = [
        {*(tags or []), *([category] if category else [])}
        for tags, category in zip(items.column("tags").to_pylist(), items.column("category").to_pylist(), strict=True)
    ]
    column = {tag: number for number, tag in enumerate(sorted(set().union(*labels) or {""}))}
    tags = np.zeros((len(labels) + 1, len(column)), dtype=np.float32)
    for row, own in enumerate(labels, start=1):
        for tag in own:
            tags[row, column[tag]] = 1.0 / np.sqrt(len(own))
    return tags


def microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Since 1970; 0 for null."""
    return pc.fill_null(column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), 0).to_numpy()
