"""What the loop knew when it drew an hour's slates, for some of the users who come in the next hour; read by delta-rs.

Letters: U users, N items, K positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from models.ranker import RankerConfig
from models.records import KnownUser
from pipelines.errors import UserError
from pipelines.hours import end_of
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from pipelines.steps.business_rules import rules_of
from pipelines.steps.draws import draw_rules
from pipelines.steps.score_users import STEP as SCORE_USERS
from spark_jobs.candidates import allowed_items
from spark_jobs.catalogue import Catalogue, KnownItems, build_catalogue, current_rows, fresh_items, item_state
from spark_jobs.item_rules import ItemRules, item_rules
from spark_jobs.ranker_inputs import user_states
from spark_jobs.release import DrawRules


@dataclass(frozen=True)
class View:
    """Users and items as a system knows them at an instant: what its models go by."""

    users: KnownUser
    items: KnownItems


@dataclass(frozen=True)
class LoopState:
    """One hour's draw: published slates (U, K), "" where shorter; allowed items (U, N+1); fresh ones (N+1,)."""

    hour: str
    users: list[str]
    published: NDArray[np.object_]
    catalogue: Catalogue
    rules: DrawRules
    of_items: ItemRules
    view: View
    allowed: torch.Tensor
    fresh: torch.Tensor


def scored(settings: Settings, hour: str) -> LedgerRow:
    """The ledger row of the hour's published slates. Raises UserError where the hour was not scored."""
    row = ledger.last_done(settings, SCORE_USERS, hour)
    if row is None:
        raise UserError(f"hour {hour} was not scored; run `recloop hour {hour}` first")
    return row


def published_slates(settings: Settings, hour: str) -> pa.Table:
    """user_id, position, item_id of the hour's scored table, at the version that the ledger names."""
    columns, version = ["user_id", "position", "item_id"], scored(settings, hour).outputs["scores"]
    return read_table(settings, "scores", version=version, columns=columns, where=pc.field("surface") == settings.slates.surface)


def read_state(settings: Settings, hour: str, users: Sequence[str], slates: pa.Table, config: RankerConfig) -> LoopState:
    """The state at the feature versions that the hour's scoring pinned, in the columns that a ranker of this config reads."""
    versions = scored(settings, hour).inputs
    rules = draw_rules(settings, hour, rules_of(settings, ledger.frozen(settings, SCORE_USERS, hour)))
    items = current_rows(read_table(settings, "items", version=versions["items"]))
    embeddings = read_table(settings, "item_embeddings", version=versions["item_embeddings"])
    catalogue = build_catalogue(items, embeddings, config.encoder_version)
    view, of_items = read_view(settings, users, catalogue, versions, rules.at, config), item_rules(rules.business, items)
    return LoopState(
        hour=hour, users=list(users), published=_slates_of(slates, users), catalogue=catalogue, rules=rules, view=view,
        of_items=of_items, allowed=allowed_items(view.users, catalogue, rules, of_items),
        fresh=fresh_items(catalogue, view.items, rules.fresh_hours),
    )  # fmt: skip


def read_frozen_view(settings: Settings, hour: str, users: Sequence[str], catalogue: Catalogue, config: RankerConfig) -> View:
    """Counters, histories and ages as they stood at the end of ``hour``; who or what came later has none."""
    row = ledger.last_done(settings, "build_features", hour)
    if row is None:
        raise UserError(f"hour {hour} has no features; run `recloop hour {hour}` first")
    return read_view(settings, users, catalogue, row.outputs, end_of(hour), config)


def read_view(
    settings: Settings, users: Sequence[str], catalogue: Catalogue, versions: dict[str, int], at: datetime, config: RankerConfig
) -> View:
    items = read_table(settings, "item_features", version=versions["item_features"])
    known = read_table(settings, "user_features", version=versions["user_features"], where=pc.field("user_id").isin(list(users)))
    rows = _in_order(known, users, at)
    return View(
        user_states(rows, catalogue, at, config.user_counters), item_state(catalogue, items, at, config.item_counters)
    )


def _in_order(known: pa.Table, users: Sequence[str], at: datetime) -> pa.Table:
    """One row a user; of whom nothing is known, one without counters and history."""
    rows = known.take(pc.index_in(pa.array(users), value_set=known.column("user_id").combine_chunks()))
    as_of = pc.fill_null(rows.column("as_of"), pa.scalar(at, rows.schema.field("as_of").type))
    return rows.set_column(rows.schema.get_field_index("as_of"), "as_of", as_of).combine_chunks()


def _slates_of(slates: pa.Table, users: Sequence[str]) -> NDArray[np.object_]:
    """(U, K) item ids."""
    own = slates.filter(pc.field("user_id").isin(list(users)))
    row = pc.index_in(own.column("user_id"), value_set=pa.array(users)).to_numpy()
    position = own.column("position").to_numpy()
    items = np.full((len(users), int(position.max(initial=0)) + 1), "", dtype=object)
    items[row, position] = own.column("item_id").to_pylist()
    return items
