"""Some users whose slates are looked at after each refresh, always the same."""

from collections.abc import Iterable

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from models.hashing import id_hash, uniform
from models.ranker import RankerConfig
from pipelines.lake.tables import read_table
from pipelines.registry.policy_figures import CANDIDATE, PRODUCTION, Compared
from pipelines.registry.slate_page import UserSlates
from pipelines.settings import Settings
from pipelines.steps.logged_slates import SlateReader

USERS, REACTIONS = 20, 5
_USER = 56  # stream of the hash


def fixed_users(reader: SlateReader, compared: Compared, config: RankerConfig) -> list[UserSlates]:
    """USERS users with the lowest hashes, in their order, each with the newest of the compared slates; ``config``: of the ranker."""
    decisions = reader.shown.decisions
    users, hours = decisions["user_id"].to_pylist(), decisions["hour"].to_pylist()
    newest = {users[n]: n for n in sorted(range(len(users)), key=lambda n: str(hours[n]))}
    names = sorted(newest)
    chance = uniform(reader.settings.seed, _USER, id_hash(names)) if names else np.zeros(0)
    chosen = [names[n] for n in np.argsort(chance, kind="stable")[:USERS]]
    where = torch.tensor([newest[name] for name in chosen], dtype=torch.int64)
    before, after = (_items(reader, compared, policy, where) for policy in (PRODUCTION, CANDIDATE))
    latest = [_named(reader, row[row > 0].flip(0)[:REACTIONS]) for row in reader.reactions(config)[where]]
    return [UserSlates(name, hours[newest[name]], *own) for name, *own in zip(chosen, before, after, latest, strict=True)]


def titles_of(settings: Settings, items: Iterable[str], version: int | None = None) -> dict[str, str]:
    """The newest title of each item, as of a version of ``items``."""
    columns, wanted = ["item_id", "updated_hour", "title"], pc.field("item_id").isin(sorted(set(items)))
    rows = read_table(settings, "items", version=version, columns=columns, where=wanted).sort_by("updated_hour")
    return dict(zip(rows["item_id"].to_pylist(), rows["title"].to_pylist(), strict=True))


def _items(reader: SlateReader, compared: Compared, policy: str, where: Tensor) -> list[tuple[str, ...]]:
    """Ids of what this policy draws for these slates, position by position."""
    action, propensity = (part[where] for part in compared.redrawn[policy])
    rows = compared.rows[where].gather(1, action)
    return [_named(reader, row[drawn]) for row, drawn in zip(rows, propensity > 0, strict=True)]


def _named(reader: SlateReader, rows: Tensor) -> tuple[str, ...]:
    return tuple(reader.catalogue.ids[row - 1].as_py() for row in rows.tolist())
