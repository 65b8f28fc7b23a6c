"""User or item states as of any hour, folded in memory from the hours' increments: the feature tables without their engine."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_jobs.contracts import COUNTERS, TABLES
from spark_jobs.counters import decayed, matrix
from spark_jobs.histories import History
from spark_jobs.liker_counts import LikerCounts

_NEVER = np.iinfo(np.int64).max


class StateFold:
    """The states of ``user_features`` or ``item_features`` after the increments that were added, by the rules of ``spark_jobs.state``."""

    def __init__(self, table: str) -> None:
        self._schema = TABLES[table].schema
        self.key = TABLES[table].key[0]
        self._row: dict[str, int] = {}
        self._counters: NDArray[np.float64] = np.zeros((0, len(COUNTERS)))
        self._as_of: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # microseconds since 1970
        self._first_seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # microseconds since 1970
        self._recent: list[History] = []
        self._likers = LikerCounts()

    def __contains__(self, key: str) -> bool:
        return key in self._row

    def add(self, increments: pa.Table) -> None:
        """Adds rows of ``user_hour`` or ``item_hour``, in any order of hours; an id at most once a call and hour."""
        for hour in sorted(set(increments["hour"].to_pylist())):
            self._add_hour(increments.filter(pc.equal(increments["hour"], hour)).combine_chunks())

    def _add_hour(self, increments: pa.Table) -> None:
        keys = increments[self.key].to_pylist()
        self._grow([key for key in keys if key not in self._row])
        rows = np.array([self._row[key] for key in keys])
        as_of = np.asarray(increments["as_of"].cast(pa.int64()))
        newest = np.maximum(as_of, self._as_of[rows])
        parts = [(self._counters[rows], self._as_of[rows]), (matrix(increments), as_of)]
        self._counters[rows] = sum(_decayed_to(counters, then, newest) for counters, then in parts)
        self._as_of[rows] = newest
        self._first_seen[rows] = np.minimum(self._first_seen[rows], _first_seen(increments))
        if "recent" in self._schema.names:
            for row, entries in zip(rows, increments["recent"].to_pylist(), strict=True):
                self._recent[row].add(entries or [])
        if "likers" in self._schema.names:
            self._likers.add(increments)

    def _grow(self, new: Sequence[str]) -> None:
        for key in new:
            self._row[key] = len(self._row)
            self._recent.append(History())
        missing = len(self._row) - len(self._as_of)
        if missing > 0:
            more = max(missing, len(self._as_of))  # doubled, so that growing costs no square of the ids
            self._counters = np.concatenate([self._counters, np.zeros((more, len(COUNTERS)))])
            self._as_of = np.concatenate([self._as_of, np.zeros(more, dtype=np.int64)])
            self._first_seen = np.concatenate([self._first_seen, np.full(more, _NEVER)])

    def states(self, keys: Sequence[str] | None = None, unknown_as_of: datetime | None = None) -> pa.Table:
        """Rows of the feature table for these ids in their order (all known ones for None).

        An id without a state has counters 0, no ``first_seen``, no history and ``unknown_as_of``.
        """
        keys = list(self._row) if keys is None else keys
        row = np.array([self._row.get(key, -1) for key in keys], dtype=np.int64)
        counters = np.where((row >= 0)[:, None], self._counters[row], 0.0) if self._row else np.zeros((len(keys), len(COUNTERS)))
        then = int(unknown_as_of.timestamp() * 1e6) if unknown_as_of else 0
        as_of = np.where(row >= 0, self._as_of[row], then) if self._row else np.full(len(keys), then)
        columns: dict[str, Any] = {self.key: pa.array(keys, pa.string())}
        columns["as_of"] = pa.array(as_of).cast(self._schema.field("as_of").type)
        first_seen = np.where(row >= 0, self._first_seen[row], _NEVER) if self._row else np.full(len(keys), _NEVER)
        columns["first_seen"] = pa.array(first_seen, mask=first_seen == _NEVER).cast(self._schema.field("first_seen").type)
        columns |= {name: counters[:, number] for number, name in enumerate(COUNTERS)}
        if "recent" in self._schema.names:
            recent = [self._recent[number].entries() if number >= 0 else None for number in row]
            columns["recent"] = pa.array(recent, self._schema.field("recent").type)
        if "likers" in self._schema.names:
            columns["likers"] = self._likers.column(columns[self.key], self._schema.field("likers").type)
        return pa.table([columns[name] for name in self._schema.names], schema=self._schema)


def _first_seen(increments: pa.Table) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(increments["first_seen"].cast(pa.int64()), _NEVER))


def _decayed_to(counters: NDArray[np.float64], as_of_us: NDArray[np.int64], at_us: NDArray[np.int64]) -> NDArray[np.float64]:
    """Counters (rows, COUNTERS), each row decayed to its own instant."""
    return decayed(counters, as_of_us - at_us, 0)
