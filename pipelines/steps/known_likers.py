"""Who had liked what before any instant: hours are added to the nearest known state, or taken off it again.

What an example is described by may hold nothing of its own hour or later, however often the example is replayed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.hashing import id_hash
from models.likers import BUCKETS, Likers
from pipelines.hours import end_of, hour_of
from pipelines.lake.held import HeldHours
from pipelines.settings import Settings
from pipelines.steps.example_batches import holds_unshown
from spark_jobs.catalogue import Catalogue
from spark_jobs.liker_counts import LikerCounts

FIRST_LOAD_PARTS = 64  # that the first load is cut into, at instants with as many likes between them

Rows = NDArray[np.int64]


class LikersByHour:
    """Of increments ``item_hour``; of the first load, which is one hour with events of years, from the examples that it gave.

    known: an hour and the ``item_features`` as of its end, from where to begin; without it, from before the first hour.
    """

    def __init__(self, settings: Settings, increments: HeldHours, examples: HeldHours, known: tuple[str, pa.Table] | None = None) -> None:
        self._settings, self._increments, self._examples, self._known = settings, increments, examples, known
        self._counts: LikerCounts | None = None
        self._next = 0  # of the increments' hours: those before it are counted

    def parts(self, known_us: Rows, catalogue: Catalogue) -> Iterator[tuple[Rows, Likers]]:
        """Rows (of those known at these instants) that see the same, and what they see."""
        start = self._settings.lake.start_hour
        load = known_us < (int(end_of(start).timestamp() * 1e6) if start else 0)
        if load.any():
            for rows, likers in self._first_load.parts(known_us[load], catalogue):
                yield np.flatnonzero(load)[rows], likers
        for instant in np.unique(known_us[~load]).tolist():
            hour = hour_of(datetime.fromtimestamp(instant // 1_000_000, UTC))
            yield np.flatnonzero(known_us == instant), self.before(hour, catalogue)

    def before(self, hour: str, catalogue: Catalogue) -> Likers:
        """As known at the hour's start."""
        hours = self._increments.hours
        wanted = bisect_left(hours, hour)
        counts = self._counts = self._counts or self._begun(wanted)
        for number in range(self._next, wanted):
            counts.add(self._read(hours[number]))
        for number in range(wanted, self._next):
            counts.take_off(self._read(hours[number]))
        self._next = wanted
        return counts.likers(catalogue)

    def _begun(self, wanted: int) -> LikerCounts:
        """From the known state or from none, whichever is nearer."""
        counts = LikerCounts()
        place = bisect_right(self._increments.hours, self._known[0]) if self._known else 0
        if self._known and abs(place - wanted) <= wanted:
            self._next = place
            counts.add(self._known[1])
        return counts

    def _read(self, hour: str) -> pa.Table:
        return self._increments.read([hour], columns=["item_id", "likers"])

    @cached_property
    def _first_load(self) -> "_FirstLoad":
        columns = ["user_id", "item_id", "ts", "labels", "negative_source"]
        load = self._examples.read([self._settings.lake.start_hour or ""], columns=columns).combine_chunks()
        liked, late_us = np.zeros(len(load), dtype=bool), 0
        for term in (term for term in self._settings.reward.terms if term.weight > 0):
            label = pc.fill_null(pc.struct_field(load["labels"], term.task), 0.0).to_numpy()
            liked |= label >= term.cap / 2
        if not holds_unshown(load):  # the time is that of the showing: its label came within the window of attribution
            late_us = int(max(self._settings.attribution_h.values()) * 3.6e9)
        likes = load.filter(pa.array(liked))
        return _FirstLoad(likes["item_id"].combine_chunks(), likes["user_id"], likes["ts"].cast(pa.int64()).to_numpy() + late_us)


class _FirstLoad:
    """Likes in the order of their time, each user of an item once; what was known is told part by part, never too much."""

    def __init__(self, item_ids: pa.Array, user_ids: pa.ChunkedArray, at_us: Rows) -> None:
        users = user_ids.combine_chunks().dictionary_encode()
        order, item = np.argsort(at_us, kind="stable"), item_ids.dictionary_encode().indices.to_numpy().astype(np.int64)
        pair = item * max(1, len(users.dictionary)) + users.indices.to_numpy()
        order = order[np.sort(np.unique(pair[order], return_index=True)[1])]
        hashed = id_hash(users.dictionary.to_pylist())[users.indices.to_numpy()[order]] if len(order) else np.zeros(0, np.uint64)
        self._item_ids, self._at_us = item_ids.take(pa.array(order)), at_us[order]
        self._bucket = (hashed % np.uint64(BUCKETS)).astype(np.int64)
        self._sign = 1 - 2 * ((hashed >> np.uint64(32)) & np.uint64(1)).astype(np.int64)
        self._bounds = np.unique(self._at_us[np.arange(FIRST_LOAD_PARTS) * len(order) // FIRST_LOAD_PARTS]) if len(order) else self._at_us

    def parts(self, known_us: Rows, catalogue: Catalogue) -> Iterator[tuple[Rows, Likers]]:
        part, counts, done = np.searchsorted(self._bounds, known_us, side="right") - 1, LikerCounts(), 0
        for number in np.unique(part).tolist():
            until = int(np.searchsorted(self._at_us, self._bounds[number])) if number >= 0 else 0
            some = slice(done, until)
            counts.add_entries(self._item_ids[some], self._bucket[some], self._sign[some])
            done = until
            yield np.flatnonzero(part == number), counts.likers(catalogue)
