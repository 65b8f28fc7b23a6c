"""Who took to an item, as a count sketch: items that the same people took to are alike.

A user falls into one of BUCKETS buckets, with a sign (Charikar, Chen, Farach-Colton 2002, "Finding frequent items in data streams"): the
dot product of two items' sketches is, on average over the hash, how many people took to both. Sketches of hours add up to that of all.
Letters: N items, G users, H history length, n pairs of user and item.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BUCKETS = 1024
LATELY = 10  # newest items of the history
SMOOTHING = 3.0  # people that an item is taken to have beside its own: few likers say little
_USERS_AT_ONCE, _PAIRS_AT_ONCE = 2048, 65_536

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Likers:
    """(N+1, BUCKETS): each item's sketch over the root of its squares and SMOOTHING; row 0 (padding, an unknown item) is empty."""

    matrix: sparse.csr_matrix

    @classmethod
    def of_counts(cls, row: Rows, bucket: Rows, amount: Rows, items: int) -> "Likers":
        """Of entries (M,): item rows 1 to ``items`` (0 is left out), buckets and signed counts."""
        known = row > 0
        counts = sparse.coo_matrix((amount[known].astype(np.float32), (row[known], bucket[known])), shape=(items + 1, BUCKETS)).tocsr()
        squares = np.asarray(counts.multiply(counts).sum(1)).ravel()
        return cls(sparse.diags(1 / np.sqrt(squares + SMOOTHING)).dot(counts).tocsr().astype(np.float32))

    @classmethod
    def none(cls, items: int) -> "Likers":
        """Nobody has taken to anything yet."""
        return cls(sparse.csr_matrix((items + 1, BUCKETS), dtype=np.float32))

    @cached_property
    def squares(self) -> Floats:
        """(N+1,) squared length of each row."""
        return np.asarray(self.matrix.multiply(self.matrix).sum(1), dtype=np.float32).ravel()

    def liked_together(self, history: Rows, weight: Floats, user: Rows, item: Rows) -> Floats:
        """(n, 2): mean likeness of each pair's item to those of the user's history, weighted, and to its LATELY newest.

        history, weight: (G, H) item rows and strengths, newest last, 0 = padding; user (n,) row of history; item (n,). The item itself
        is left out of the mean; 0 where nothing is left.
        """
        found = np.zeros((len(item), 2), dtype=np.float32)
        order, weight = np.argsort(user, kind="stable"), weight * (history > 0)
        for column, newest in enumerate((history.shape[1], LATELY)):
            own, strength = history[:, -newest:], weight[:, -newest:]
            for first in range(0, len(history), _USERS_AT_ONCE):
                some = slice(first, first + _USERS_AT_ONCE)
                between = np.searchsorted(user[order], [first, first + _USERS_AT_ONCE])
                pairs = order[between[0] : between[1]]
                profile = self._profiles(own[some], strength[some])
                for at in range(0, len(pairs), _PAIRS_AT_ONCE):
                    part = pairs[at : at + _PAIRS_AT_ONCE]
                    found[part, column] = self._likeness(profile, own, strength, user[part], item[part], first)
        return found

    def _profiles(self, history: Rows, weight: Floats) -> Floats:
        """(G, BUCKETS): weighted sum of the rows of each history."""
        users, width = history.shape
        starts = np.arange(users + 1) * width
        chosen = sparse.csr_matrix((weight.ravel(), history.ravel(), starts), shape=(users, self.matrix.shape[0]))
        return np.asarray(chosen.dot(self.matrix).toarray(), dtype=np.float32)

    def _likeness(self, profile: Floats, history: Rows, weight: Floats, user: Rows, item: Rows, first: int) -> Floats:
        rows = self.matrix[item]
        pair = np.repeat(np.arange(len(item)), np.diff(rows.indptr))
        dot = np.bincount(pair, rows.data * profile[user[pair] - first, rows.indices], minlength=len(item))
        itself = (weight[user] * (history[user] == item[:, None])).sum(1)
        left = weight[user].sum(1) - itself
        return np.asarray(np.where(left > 1e-6, (dot - itself * self.squares[item]) / np.maximum(left, 1e-6), 0.0), dtype=np.float32)
