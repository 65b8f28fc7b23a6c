"""Counter-based randomness: the same (seed, user, item, hour) gives the same bits on every machine and rerun.

The mixer is splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_WORD = (1 << 64) - 1


def id_hash(ids: Sequence[str]) -> Hashes:
    """64 stable bits of each id (blake2b); the same id gives the same hash in every release of this code."""
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _splitmix(state: Hashes) -> Hashes:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))


def mix(*parts: Hashes | int) -> Hashes:
    """One hash of several words, broadcast against each other; the order of the parts matters."""
    state = np.zeros((), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            word = np.uint64(part & _WORD) if isinstance(part, int) else np.asarray(part).astype(np.uint64)
            state = np.asarray(_splitmix((state ^ word) + _GOLDEN))
    return state


def uniform(*parts: Hashes | int) -> NDArray[np.float64]:
    """Uniform numbers in the open interval (0, 1) from the mixed bits (52 of them, so that neither end is reached)."""
    return np.asarray(((mix(*parts) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)


def gumbel(seed: int, user: Hashes, item: Hashes, hour: int) -> NDArray[np.float64]:
    """Standard Gumbel noise of a draw.

    user: (U,) hashes; item: (U, C) hashes; hour: hours since the epoch. Returns (U, C). Never reuse an hour's noise
    in another hour: later features depend on the feedback to the earlier slate.
    """
    return np.asarray(-np.log(-np.log(uniform(seed, user[:, None], item, hour))))
