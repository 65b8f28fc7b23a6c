"""Business rules of a draw: what is blocked, out of stock, boosted, pinned, and how many of a category a slate may hold."""

from dataclasses import dataclass

BY_TAG = "tag"
NO_RULES = "none"


@dataclass(frozen=True)
class Boost:
    """Added to the logits of these items, and of all items with one of these tags."""

    logits: float
    items: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class BusinessRules:
    """``version``: a hash of the file. stock: attribute and the least that must be there. pins: positions from 0 with their items.

    cap_by: BY_TAG for an item's first tag, else the name of an attribute, "" for no cap; cap_at: most items of one category in a slate.
    seen_days: in place of the settings' where it is set.
    """

    version: str = NO_RULES
    blocked_items: tuple[str, ...] = ()
    blocked_tags: tuple[str, ...] = ()
    stock: tuple[str, float] | None = None
    boosts: tuple[Boost, ...] = ()
    pins: tuple[tuple[int, str], ...] = ()
    cap_by: str = ""
    cap_at: int = 0
    seen_days: int | None = None
