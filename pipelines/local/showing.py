"""What the simulated users see: the scored slates as they stand, each shown once an hour to whom it belongs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.hashing import Hashes, id_hash, mix, uniform
from pipelines.errors import UserError
from pipelines.hours import hour_number, parse_hour
from pipelines.lake.tables import read_table
from pipelines.local.landing import event_id
from pipelines.local.world import World
from pipelines.settings import Settings
from spark_jobs.contracts import DEFAULT_USER

STOP_EARLY = 0.02
ARRIVALS_S = 3000  # all slates of an hour are opened in its first 50 minutes
_ARRIVE, _STOP, _STOP_AT = 31, 32, 33


@dataclass(frozen=True)
class CurrentSlates:
    """The scored slates, S of at most K items; "" where a slate has no row: behind its end, or where a roll-back left one out."""

    user_ids: list[str]
    slate_ids: list[str]
    items: NDArray[np.object_]  # (S, K)
    newest_hour: str

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.user_ids)

    def rows_of(self, users: Sequence[str]) -> NDArray[np.int64]:
        """(U,) slate of each user; the default slate for whom nobody scored."""
        rows = self._index.get_indexer(list(users))
        return np.where(rows < 0, self._index.get_loc(DEFAULT_USER), rows)


@dataclass(frozen=True)
class Shown:
    """The impressions of one hour, M rows; ``noise`` is a hash of (user, item), the seed of every reaction."""

    users: list[str]
    request_ids: list[str]
    slate_ids: list[str]
    items: list[str]
    positions: NDArray[np.int64]
    times: NDArray[np.float64]  # seconds since the epoch
    affinity: NDArray[np.float64]
    durations: NDArray[np.int64]
    noise: Hashes


def read_slates(settings: Settings) -> CurrentSlates:
    """Raises UserError where nothing is scored yet."""
    columns = ["user_id", "position", "item_id", "slate_id", "hour"]
    rows = read_table(settings, "scores", columns=columns, where=pc.field("surface") == settings.slates.surface)
    frame = rows.to_pandas().sort_values(["user_id", "position"], kind="stable")
    if DEFAULT_USER not in set(frame["user_id"]):
        raise UserError(f"table scores holds no {DEFAULT_USER} slate of surface {settings.slates.surface}; score an hour first")
    users, slate_rows = np.unique(frame["user_id"].to_numpy(object), return_inverse=True)
    items = np.full((len(users), int(frame["position"].max()) + 1), "", dtype=object)
    items[slate_rows, frame["position"]] = frame["item_id"]
    slate_ids = frame["slate_id"].to_numpy(object)[np.searchsorted(slate_rows, np.arange(len(users)))]
    return CurrentSlates(list(users), list(slate_ids), items, frame["hour"].max())


def show(world: World, slates: CurrentSlates, users: Sequence[str], hour: str) -> Shown:
    """One showing of each user's slate; some users stop before its end."""
    hashes, now = id_hash(users), hour_number(hour)
    rows = slates.rows_of(users)
    items = slates.items[rows]  # (U, K)
    item_rows = world.item_rows(items)
    size = (items != "").sum(axis=1)
    stops = uniform(world.seed, _STOP, hashes, now) < STOP_EARLY
    prefix = 1 + (uniform(world.seed, _STOP_AT, hashes, now) * np.maximum(size - 1, 1)).astype(int)
    place = np.cumsum(items != "", axis=1)  # 1 for the first item that is there
    who, position = np.nonzero((items != "") & (place <= np.where(stops, np.minimum(prefix, size), size)[:, None]))
    start = parse_hour(hour).timestamp() + ARRIVALS_S * uniform(world.seed, _ARRIVE, hashes, now)
    requests = [event_id("request", world.seed, user, hour) for user in users]
    chosen = items[who, position].tolist()
    return Shown(
        users=[users[i] for i in who.tolist()],
        request_ids=[requests[i] for i in who.tolist()],
        slate_ids=[slates.slate_ids[i] for i in rows[who].tolist()],
        items=chosen,
        positions=position,
        times=start[who],
        affinity=world.affinity(users, item_rows, hour)[who, position],
        durations=world.durations[item_rows[who, position]],
        noise=mix(hashes[who], id_hash(chosen)),
    )
