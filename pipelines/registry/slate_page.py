"""A page with the slates of some users before and after an update, by title: what figures over thousands of slates do not show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.registry.model_card import TEMPLATES

LONGEST_TITLE = 100  # characters; feeds hold titles of any length


@dataclass(frozen=True)
class UserSlates:
    """Item ids of a user's slate as production (``before``) and the candidate (``after``) would draw it, the first position first.

    hour: whose draw is drawn anew; reactions: what the user had reacted to before it, the newest first.
    """

    user_id: str
    hour: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    reactions: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """Items that stand in both slates."""
        return len(set(self.before) & set(self.after))


@dataclass(frozen=True)
class Line:
    """One position: what production shows and the mark of what has left, what the candidate shows and where that came from."""

    before: str
    left: bool
    after: str
    mark: str


def slates_page(hour: str, users: Sequence[UserSlates], titles: Mapping[str, str], against: str) -> str:
    """One self-contained HTML page. ``titles``: of items by id, where they have one; ``against``: the release before the update."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["title"] = lambda item: title_of(item, titles)
    return environment.get_template("slates.html.j2").render(
        hour=hour, against=against, users=[(user, lines(user)) for user in users], items=sum(len(user.after) for user in users),
        entered=sum(len(user.after) - user.kept for user in users), same=sum(user.before == user.after for user in users),
    )  # fmt: skip


def lines(user: UserSlates) -> list[Line]:
    """Position by position; the shorter slate ends with empty ones."""
    length = max(len(user.before), len(user.after))
    before, after = ([*slate, *[""] * (length - len(slate))] for slate in (user.before, user.after))
    pairs = enumerate(zip(before, after, strict=True))
    return [Line(old, bool(old) and old not in user.after, new, _mark(new, place, user)) for place, (old, new) in pairs]


def title_of(item: str, titles: Mapping[str, str]) -> str:
    """On one line and cut where it is long; the id where there is none."""
    title = " ".join(titles.get(item, "").split())
    return (title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…") or item


def _mark(item: str, place: int, user: UserSlates) -> str:
    if not item or item not in user.before:
        return "new" if item else ""
    moved = user.before.index(item) - place
    return f"↑{moved}" if moved > 0 else f"↓{-moved}" if moved else ""
