"""The catalogue as arrays: item rows, text and image vectors, tags and ages, the same in training, scoring and evaluation.

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
from models.likers import Likers
from models.records import ItemState, ItemTable
from spark_jobs.contracts import COUNTERS
from spark_jobs.counters import decayed, matrix, with_rates

MICROSECONDS_AN_HOUR = 3_600_000_000


@dataclass(frozen=True)
class Catalogue:
    """N items in id order. ``tags`` (N+1, G): unit rows; ``published_us`` (N+1,): microseconds since 1970, 0 where unknown.

    ``queries``: texts that people searched for; their vectors follow the items' in ``table``.
    """

    ids: pa.Array
    table: ItemTable
    tags: torch.Tensor
    published_us: NDArray[np.int64]
    available: NDArray[np.bool_]
    hashes: NDArray[np.uint64]
    queries: pa.Array

    def rows(self, item_ids: pa.Array) -> NDArray[np.int64]:
        """Item row of each id; 0 for an unknown one."""
        return _place(item_ids, self.ids) + 1

    def query_rows(self, queries: pa.Array) -> NDArray[np.int64]:
        """Row of each query's vector in ``table``; 0 for none and for one that was never encoded."""
        place = _place(queries, self.queries)
        return np.where(place >= 0, place + len(self.ids) + 1, 0)

    def age_h(self, rows: NDArray[np.int64], first_seen_us: NDArray[np.int64], at_us: NDArray[np.int64] | int) -> NDArray[np.float64]:
        """Hours since publication of these item rows (n,), where that is not known since ``first_seen_us`` (0: never seen), else 0."""
        since_us = np.where(self.published_us[rows] > 0, self.published_us[rows], first_seen_us)
        return np.where(since_us > 0, np.maximum(at_us - since_us, 0), 0) / MICROSECONDS_AN_HOUR


def build_catalogue(items: pa.Table, embeddings: pa.Table, encoder_version: str, queries: pa.Table | None = None) -> Catalogue:
    """From the current ``items`` (one row an item), ``item_embeddings`` and ``query_embeddings``; an item without a vector gets zeros."""
    items = items.sort_by("item_id")
    ids = items.column("item_id").combine_chunks()
    own = embeddings.filter(pc.field("encoder_version") == encoder_version)
    found, place = _vectors(own), _place(own.column("item_id"), ids)
    vectors = np.zeros((len(ids), found.shape[1]), dtype=np.float32)
    vectors[place[place >= 0]] = found[place >= 0]
    asked = queries.filter(pc.field("encoder_version") == encoder_version) if queries is not None and len(own) else embeddings.slice(0, 0)
    images = image_vectors(items)
    if len(asked):
        vectors = np.concatenate([vectors, _vectors(asked)])
        images = np.concatenate([images, np.zeros((len(asked), images.shape[1]), np.float32)])
    return Catalogue(
        ids=ids,
        table=ItemTable.from_numpy(vectors, images),
        tags=torch.from_numpy(_tags(items)),
        published_us=np.concatenate([[0], microseconds(items.column("published_at"))]),
        available=np.concatenate([[False], items.column("available").to_numpy()]),
        hashes=np.concatenate([np.zeros(1, np.uint64), id_hash(ids.to_pylist())]),
        queries=asked["query"].combine_chunks() if len(asked) else pa.array([], pa.string()),
    )


def image_vectors(items: pa.Table) -> NDArray[np.float32]:
    """(N, V) in the order of the rows: V is the most frequent length; an item of another one, or of a number that is none, has zeros."""
    column = items.column("image_vector").combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    if not lengths.any():
        return np.zeros((len(items), 0), np.float32)
    width = int(np.bincount(lengths[lengths > 0]).argmax())
    found, fits = np.zeros((len(items), width), np.float32), lengths == width
    found[fits] = pc.list_flatten(column.filter(pa.array(fits))).to_numpy(zero_copy_only=False).reshape(-1, width)
    found[~np.isfinite(found).all(1)] = 0
    return found


def _vectors(embeddings: pa.Table) -> NDArray[np.float32]:
    """(rows, D) of the column ``vector``; (0, 1) without rows."""
    width = len(embeddings["vector"][0]) if len(embeddings) else 1
    return np.asarray(embeddings["vector"].combine_chunks().flatten()).reshape(-1, width)


def _place(values: pa.Array | pa.ChunkedArray, among: pa.Array) -> NDArray[np.int64]:
    """Where each value stands in ``among``; -1 where it does not."""
    found = pc.fill_null(pc.index_in(values, value_set=among, skip_nulls=True), -1)
    return found.to_numpy(zero_copy_only=False).astype(np.int64) if isinstance(found, pa.Array) else found.to_numpy().astype(np.int64)


def item_texts(items: pa.Table) -> list[str]:
    """What the encoder reads of each row of ``items``, in their order: what ``spark_jobs.items.item_text`` is in Spark."""
    text = pc.utf8_trim(pc.fill_null(items.column("text"), ""), characters=" ")
    found: list[str] = pc.if_else(pc.greater(pc.utf8_length(text), 0), text, items.column("title")).to_pylist()
    return found


def current_rows(items: pa.Table) -> pa.Table:
    """The last row of each item's history."""
    order = items.sort_by([("item_id", "ascending"), ("updated_hour", "ascending")])
    ids = order.column("item_id").to_pylist()
    last = [number for number, item in enumerate(ids) if number + 1 == len(ids) or ids[number + 1] != item]
    return order.take(last)


@dataclass(frozen=True)
class KnownItems(ItemState):
    """The items' state with what pairs of user and item are described by."""

    likers: Likers


def item_state(catalogue: Catalogue, features: pa.Table, at: datetime, names: tuple[str, ...]) -> KnownItems:
    """Counters of every row decayed to ``at``, in the order of ``names``, and likers; an item nobody met has zeros."""
    at_us = int(at.timestamp() * 1e6)
    counters = np.zeros((len(catalogue.ids) + 1, len(COUNTERS)))
    rows = catalogue.rows(features.column("item_id").combine_chunks())
    counters[rows] = decayed(matrix(features), microseconds(features.column("as_of")), at_us)
    first_seen_us = np.zeros(len(counters), dtype=np.int64)
    first_seen_us[rows] = microseconds(features.column("first_seen"))
    counters[0], first_seen_us[0] = 0.0, 0
    age = torch.from_numpy(catalogue.age_h(np.arange(len(counters)), first_seen_us, at_us).astype(np.float32))
    row, bucket, amount = liker_entries(features)
    likers = Likers.of_counts(rows[row], bucket, amount, len(catalogue.ids))
    return KnownItems(torch.from_numpy(with_rates(counters, names).astype(np.float32)), age, likers)


def liker_entries(features: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(row of the table, bucket, amount), (M,) each, of the column ``likers``; none for a table of before there were any."""
    if "likers" not in features.column_names or not len(features):
        return (np.zeros(0, dtype=np.int64),) * 3
    column = features.column("likers").combine_chunks()
    row, flat = pc.list_parent_indices(column).to_numpy().astype(np.int64), column.flatten()
    bucket, amount = (flat.field(name).to_numpy(zero_copy_only=False).astype(np.int64) for name in ("bucket", "amount"))
    return row, bucket, amount


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
