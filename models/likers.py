"""Who took to an item, as a count sketch: items that the same people took to go together.

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
PRIOR = 1.0  # people that are taken to have liked both beside those who did, and beside those who were to be expected
_USERS_AT_ONCE, _PAIRS_AT_ONCE = 256, 131_072
_PRODUCT_FASTER, _PRODUCT_ENTRIES = 100, 2**24  # an entry of a product of matrices costs a hundredth of one that is looked up

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Likers:
    """(N+1, BUCKETS): the items' sketches; row 0 (padding, an unknown item) is empty."""

    matrix: sparse.csr_matrix

    @classmethod
    def of_counts(cls, row: Rows, bucket: Rows, amount: Rows, items: int) -> "Likers":
        """Of entries (M,): item rows 1 to ``items`` (0 is left out), buckets and signed counts."""
        known = row > 0
        entries = (amount[known].astype(np.float32), (row[known], bucket[known]))
        return cls(sparse.coo_matrix(entries, shape=(items + 1, BUCKETS)).tocsr())

    @cached_property
    def count(self) -> Floats:
        """(N+1,) people who took to each item, by its sketch."""
        return np.asarray(self.matrix.multiply(self.matrix).sum(1), dtype=np.float32).ravel()

    @cached_property
    def expected(self) -> Floats:
        """(N+1,) how many of an item's people are to be expected among those of another item, for each person of that one.

        As if what else these people took to were spread over the items by their popularity: then a growing log leaves the ratio alone.
        """
        everything = np.asarray(self.matrix.sum(0), dtype=np.float32).ravel()
        return np.asarray(np.maximum(self.matrix.dot(everything), 0.0) / max(float(self.count.sum()), 1.0), dtype=np.float32)

    def liked_together(self, history: Rows, weight: Floats, user: Rows, item: Rows) -> Floats:
        """(n, 2): log of how many people took to each pair's item and to the user's history, weighted, over what is to be expected; of
        the whole history, and of its LATELY newest.

        history, weight: (G, H) item rows and strengths, newest last, 0 = padding; user (n,) row of history; item (n,). The item itself
        is left out of the history; 0 where nothing is left, or nothing known.
        """
        found = np.zeros((len(item), 2), dtype=np.float32)
        order, weight = np.argsort(user, kind="stable"), weight * (history > 0)
        starts = np.searchsorted(user[order], np.arange(0, len(history) + _USERS_AT_ONCE, _USERS_AT_ONCE))
        for column, newest in enumerate((history.shape[1], LATELY)):
            for number, first in enumerate(range(0, len(history), _USERS_AT_ONCE)):
                some = slice(first, first + _USERS_AT_ONCE)
                taken = self._taken(history[some, -newest:], weight[some, -newest:])
                profile, people = np.asarray(taken.dot(self.matrix).toarray()), taken.dot(self.count)
                pairs = order[starts[number] : starts[number + 1]]
                for at in range(0, len(pairs), _PAIRS_AT_ONCE):
                    part = pairs[at : at + _PAIRS_AT_ONCE]
                    who, what = user[part] - first, item[part]
                    itself = np.asarray(taken[who, what]).ravel() * self.count[what]
                    both = np.maximum(self._dot(profile, who, what) - itself, 0.0)
                    expected = np.maximum(people[who] - itself, 0.0) * self.expected[what]
                    found[part, column] = np.log((both + PRIOR) / (expected + PRIOR))
        return found

    def _taken(self, history: Rows, weight: Floats) -> sparse.csr_matrix:
        """(G, N+1): how strongly each user took to each item."""
        users, width = history.shape
        starts = np.arange(users + 1) * width
        taken = sparse.csr_matrix((weight.ravel().astype(np.float64), history.ravel(), starts), shape=(users, self.matrix.shape[0]))
        taken.sum_duplicates()
        return taken

    def _dot(self, profile: Doubles, user: Rows, item: Rows) -> Doubles:
        """(n,) of each pair's profile and sketch: by one product of all with all where that is less work than pair by pair."""
        items, place = np.unique(item, return_inverse=True)
        rows, size = self.matrix[items], np.diff(self.matrix.indptr)
        if rows.nnz * len(profile) <= _PRODUCT_FASTER * size[item].sum() and len(items) * len(profile) <= _PRODUCT_ENTRIES:
            return np.asarray(rows.dot(profile.T)[place, user])
        rows = self.matrix[item]
        pair = np.repeat(np.arange(len(item)), np.diff(rows.indptr))
        return np.asarray(np.bincount(pair, rows.data * profile[user[pair], rows.indices], minlength=len(item)), dtype=np.float64)
