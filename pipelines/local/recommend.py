"""A user's scored rows as a person reads them: titles in place of ids, and where each row came from."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from spark_jobs.contracts import DEFAULT_USER

_LIKE = "like item "


@dataclass(frozen=True)
class Recommendation:
    """One position of a user's slate; ``hour`` is that of its draw."""

    position: int
    item_id: str
    title: str
    source: str
    reason: str
    score: float
    propensity: float
    release_id: str
    hour: str


def recommend(settings: Settings, user_id: str, k: int | None = None) -> list[Recommendation]:
    """The user's first ``k`` rows in order of position. Raises UserError for a user whom nobody scored."""
    mine = (pc.field("user_id") == user_id) & (pc.field("surface") == settings.slates.surface)
    rows = sorted(read_table(settings, "scores", where=mine).to_pylist(), key=lambda row: row["position"])[:k]
    if not rows:
        raise UserError(
            f"user {user_id!r} has no scored rows: unknown, or new since the last scored hour; such users are shown the "
            f"default slate: `recloop top {DEFAULT_USER}`, and `recloop top` names some who have rows"
        )
    titles = _titles(settings, {row["item_id"] for row in rows} | {_liked(row["reason"]) for row in rows})
    return [
        Recommendation(
            row["position"], row["item_id"], titles.get(row["item_id"], row["item_id"]), row["source"], _spoken(row["reason"], titles),
            row["score"], row["propensity"], row["release_id"], row["hour"],
        )
        for row in rows
    ]  # fmt: skip


def some_users(settings: Settings, count: int = 5) -> list[str]:
    """Users with history who have rows, the first by id; the default user where there is none."""
    known = (pc.field("source") == "policy") & (pc.field("position") == 0) & (pc.field("surface") == settings.slates.surface)
    users = read_table(settings, "scores", columns=["user_id"], where=known).column("user_id").to_pylist()
    return sorted(users, key=lambda user: (len(user), user))[:count] or [DEFAULT_USER]


def _titles(settings: Settings, items: Collection[str]) -> dict[str, str]:
    """The newest title of each item."""
    columns = ["item_id", "updated_hour", "title"]
    rows = read_table(settings, "items", columns=columns, where=pc.field("item_id").isin(sorted(items))).to_pylist()
    return {row["item_id"]: row["title"] for row in sorted(rows, key=lambda row: row["updated_hour"])}


def _liked(reason: str | None) -> str:
    return reason.removeprefix(_LIKE) if reason and reason.startswith(_LIKE) else ""


def _spoken(reason: str | None, titles: dict[str, str]) -> str:
    liked = _liked(reason)
    return f"like {titles.get(liked, liked)}" if liked else reason or ""
