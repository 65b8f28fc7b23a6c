"""Who is shown which release: users fall into arms anew every hour, by a salted hash."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from spark_jobs.contracts import DEFAULT_USER

ARMS = PRODUCTION_ARM, CHALLENGER_ARM, PREDECESSOR_ARM = "production", "challenger", "predecessor"
_ARM = 61  # stream of the hash


def arm_of(user_ids: Sequence[str], salt: str, hour_number: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """(n,) number of each user's arm, whose ``shares`` sum to 1; the default user is always in the first."""
    if not len(user_ids):
        return np.zeros(0, dtype=np.int64)
    chance = uniform(id_hash([salt]), _ARM, id_hash(user_ids), hour_number)
    arm = np.searchsorted(np.cumsum(shares)[:-1], chance, side="right")
    return np.where(np.array(user_ids, dtype=object) == DEFAULT_USER, 0, arm).astype(np.int64)
