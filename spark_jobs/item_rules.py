"""Business rules as arrays by item row, for the draws of executors.

Letters: N items, U users, C candidates, K slate size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from models.records import SlateLimits
from spark_jobs.business_rules import BY_TAG, BusinessRules

UNAVAILABLE, BLOCKED = "unavailable", "blocked"
RULED_COLUMNS = ("item_id", "updated_hour", "tags", "attributes", "available", "published_at")  # of items, all that ``hidden_items`` reads


@dataclass(frozen=True)
class ItemRules:
    """The rules by item row: blocked (N+1,), offset (N+1,) of logits, category (N+1,) or -1; pins as (position, item row)."""

    blocked: Tensor
    offset: Tensor
    category: Tensor
    pins: tuple[tuple[int, int], ...]
    cap: int

    def limits(self, rows: Tensor, size: int) -> SlateLimits:
        """Of candidate rows (U, C). A pinned item that is no candidate of a slate is not in it."""
        category = self.category[rows]
        pinned = torch.full((len(rows), size), -1, dtype=torch.int64)
        for position, row in self.pins:
            if position < size:
                there = rows == row
                pinned[:, position] = torch.where(there.any(1), there.long().argmax(1), -1)
        return SlateLimits(category, torch.where(category >= 0, self.cap, size), pinned)


def item_rules(rules: BusinessRules, items: pa.Table) -> ItemRules:
    """The rules on the current ``items``, one row an item; ids that the catalogue does not know are passed over."""
    items = items.sort_by("item_id")
    ids = items["item_id"].to_pylist()
    tags = [list(own or []) for own in items["tags"].to_pylist()]
    attributes = [dict(own or []) for own in items["attributes"].to_pylist()]
    blocked_tags, blocked_items = set(rules.blocked_tags), set(rules.blocked_items)
    blocked = [item in blocked_items or bool(blocked_tags & set(own)) for item, own in zip(ids, tags, strict=True)]
    if rules.stock is not None:
        name, least = rules.stock
        blocked = [out or not _at_least(own.get(name), least) for out, own in zip(blocked, attributes, strict=True)]
    offset = np.zeros(len(ids) + 1, dtype=np.float32)
    for boost in rules.boosts:
        named, of = set(boost.items), set(boost.tags)
        offset[1:] += [boost.logits * (item in named or bool(of & set(own))) for item, own in zip(ids, tags, strict=True)]
    place = {item: row + 1 for row, item in enumerate(ids)}
    categories = _categories(rules.cap_by, tags, attributes)
    return ItemRules(
        torch.tensor([False, *blocked]), torch.from_numpy(offset), torch.tensor([-1, *categories], dtype=torch.int64),
        tuple((position, place[item]) for position, item in rules.pins if item in place), rules.cap_at,
    )  # fmt: skip


def hidden_items(rules: BusinessRules, items: pa.Table, at: datetime) -> pa.Table:
    """item_id of each current item, and ``hidden``: why nobody may be shown it at this instant, or null.

    UNAVAILABLE (or not published yet), else BLOCKED by the rules.
    """
    items = items.sort_by("item_id")
    unpublished = pc.fill_null(pc.greater(items["published_at"], pa.scalar(at, items["published_at"].type)), False)
    unavailable = pc.or_(pc.invert(items["available"]), unpublished)
    blocked = pc.if_else(pa.array(item_rules(rules, items).blocked[1:].numpy()), BLOCKED, pa.scalar(None, pa.string()))
    return pa.table({"item_id": items["item_id"], "hidden": pc.if_else(unavailable, UNAVAILABLE, blocked)})


def _at_least(value: str | None, least: float) -> bool:
    """False where the item says nothing, or no number."""
    try:
        return float(value or "nan") >= least
    except ValueError:
        return False


def _categories(cap_by: str, tags: Sequence[Sequence[str]], attributes: Sequence[dict[str, str]]) -> list[int]:
    """A number for the category of each item, -1 where it has none."""
    if not cap_by:
        return [-1] * len(tags)
    names = [own[0] if own else None for own in tags] if cap_by == BY_TAG else [own.get(cap_by) for own in attributes]
    numbers = {name: number for number, name in enumerate(sorted({name for name in names if name is not None}))}
    return [numbers[name] if name is not None else -1 for name in names]


def with_pinned(rows: Tensor, mask: Tensor, pins: Sequence[int], may: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates (U, C) with the pinned item rows among them, in place of the last ones, where a user ``may`` (U, N+1) be shown them."""
    rows, mask = rows.clone(), mask.clone()
    kept = torch.zeros_like(mask)  # pinned candidates make room for no other
    for row in pins:
        kept |= (rows == row) & mask
    for row in pins:
        missing = may[:, row] & ~((rows == row) & mask).any(1)
        place = torch.arange(rows.shape[1])
        worth = torch.where(mask, place, 2 * len(place) - place).masked_fill(kept, -1)  # the first empty place, else the last one
        column = worth.argmax(1, keepdim=True)
        rows = torch.where(missing.unsqueeze(1), rows.scatter(1, column, row), rows)
        mask = torch.where(missing.unsqueeze(1), mask.scatter(1, column, True), mask)
        kept |= (rows == row) & mask
    return rows, mask
