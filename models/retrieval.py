"""Which items a slate is drawn from: the best by score, all fresh ones, and a few at random.

Letters: U users, N items, C candidates.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.hashing import Hashes, uniform

_FRESH, _EXPLORE = 1, 2  # streams of the hash


def select_candidates(
    scores: Tensor | NDArray[np.floating],
    allowed: Tensor | NDArray[np.bool_],
    fresh: Tensor | NDArray[np.bool_],
    user_hash: Hashes,
    item_hash: Hashes,
    hour: int,
    seed: int,
    size: int,
    explore_share: float = 0.05,
) -> tuple[Tensor, Tensor]:
    """Candidates (U, C) int64 item rows and their mask (U, C), C = size, in ascending order of row, padded with 0.

    scores, allowed: (U, N+1); fresh: (N+1,), items younger than 24 h; user_hash: (U,); item_hash: (N+1,). Fresh items
    come first, up to half the size and in hashed order, then `explore_share` of the size uniformly, the rest by score.
    Row 0 is never a candidate. The choice is a function of (seed, user, item, hour).
    """
    score = torch.as_tensor(scores)  # (U, N+1)
    open_ = torch.as_tensor(allowed).clone()
    open_[:, 0] = False
    if not torch.isfinite(score[open_]).all():
        raise ValueError("retrieval scores of allowed items must be finite; look at the counters of users and items")
    users, items = user_hash[:, None], item_hash[None, :]
    picked = torch.zeros_like(open_)
    fresh_quota = size // 2
    explore_quota = min(round(explore_share * size), size - fresh_quota)
    quotas = ((_FRESH, open_ & torch.as_tensor(fresh), fresh_quota), (_EXPLORE, open_, explore_quota))
    for stream, pool, count in quotas:
        order = torch.from_numpy(uniform(seed, stream, users, items, hour))  # (U, N+1)
        picked |= _top(order, pool & ~picked, count)
    picked |= _top(score.masked_fill(picked, torch.inf), open_, size)
    return _as_rows(picked, size)


def _top(order: Tensor, pool: Tensor, count: int) -> Tensor:
    """True for the `count` highest of each row within the pool; fewer where the pool is smaller."""
    key = order.masked_fill(~pool, -torch.inf)
    best = key.topk(min(count, key.shape[1]), dim=1).indices
    return torch.zeros_like(pool).scatter_(1, best, True) & pool


def _as_rows(picked: Tensor, size: int) -> tuple[Tensor, Tensor]:
    users, rows = picked.nonzero(as_tuple=True)
    column = picked.cumsum(1)[users, rows] - 1
    candidates = torch.zeros(len(picked), size, dtype=torch.int64)
    candidates[users, column] = rows
    return candidates, candidates > 0
