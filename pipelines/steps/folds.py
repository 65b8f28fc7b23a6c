"""User folds: who is learned from, and who only judges."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from pipelines.hours import hour_number
from pipelines.settings import Settings

_GATE = 51  # stream of the hash


def in_gate_fold(settings: Settings, user_ids: pa.Array | pa.ChunkedArray, hour: str) -> NDArray[np.bool_]:
    """(n,) whether each user belongs to the gate fold at ``hour``: a salted hash, stable for ``gates.fold_days`` days."""
    flat = user_ids.combine_chunks() if isinstance(user_ids, pa.ChunkedArray) else user_ids
    if not len(flat):
        return np.zeros(0, bool)
    encoded = flat.dictionary_encode()
    block = hour_number(hour) // (24 * settings.gates.fold_days)
    chance = uniform(settings.seed, _GATE, block, id_hash(encoded.dictionary.to_pylist()))
    return np.asarray((chance < settings.gates.fold_share)[encoded.indices.to_numpy()])
