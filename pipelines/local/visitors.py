"""Who comes in an hour: known users by their own rate, a handful of new ones, and some of the recent new ones again."""

import numpy as np
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from pipelines.hours import hour_number, hours_between, shift
from pipelines.local.world import World

AWAY_SHARE, AWAY_H = 0.05, 72
NEW_PER_HOUR = (3, 8)
RETURN_H, RETURN_RATE = 48, 0.3
_VISIT, _AWAY, _NEW, _RETURN = 21, 22, 23, 24


def visitors(world: World, hour: str) -> list[str]:
    """Distinct user ids: known users in the world's order, then new ones, then those who were new before."""
    known = [world.user_ids[row] for row in np.flatnonzero(_active(world, hour))]
    return known + newcomers(world, hour) + _returning(world, hour)


def newcomers(world: World, hour: str) -> list[str]:
    """Users who come for the first time in this hour; nobody knows them. None in the start hour or before."""
    if hours_between(world.start_hour, hour) < 1:
        return []
    low, high = NEW_PER_HOUR
    count = low + int(float(uniform(world.seed, _NEW, hour_number(hour))) * (high - low + 1))
    return [f"n{hour}-{i}" for i in range(count)]


def _active(world: World, hour: str) -> NDArray[np.bool_]:
    """(U,) at home by the user's rate; about AWAY_SHARE of the users are away for AWAY_H hours on end."""
    users, now = id_hash(world.user_ids), hour_number(hour)
    spell = (now + users % np.uint64(AWAY_H)) // np.uint64(AWAY_H)
    at_home = uniform(world.seed, _AWAY, users, spell) >= AWAY_SHARE
    return np.asarray(at_home & (uniform(world.seed, _VISIT, users, now) < world.activity))


def _returning(world: World, hour: str) -> list[str]:
    earlier = [user for age in range(1, RETURN_H + 1) for user in newcomers(world, shift(hour, -age))]
    if not earlier:
        return []
    returns = uniform(world.seed, _RETURN, id_hash(earlier), hour_number(hour)) < RETURN_RATE
    return [user for user, comes in zip(earlier, returns, strict=True) if comes]
