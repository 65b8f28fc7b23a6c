"""The release and the features of a draw, at the versions that its decision pinned; read by delta-rs, computed as executors do.

Letters: C candidates, V variants of a user, N items.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from deltalake.exceptions import DeltaError
from torch import Tensor

from models.records import KnownUser
from models.rewards import expected_reward, reward_log_odds
from pipelines.errors import UserError
from pipelines.hours import end_of
from pipelines.lake.tables import read_table
from pipelines.local.explanation.drawn import Row
from pipelines.registry.release_files import check_models
from pipelines.registry.releases import release_folder
from pipelines.settings import Settings
from spark_jobs.catalogue import Catalogue, KnownItems, build_catalogue, current_rows, item_state
from spark_jobs.ranker_inputs import cross_features, user_states
from spark_jobs.release import Release, load_release


@dataclass(frozen=True)
class Known:
    """What the draw knew: models, catalogue, the user's one row of ``user_features``, items; ``rows`` (C,) of the candidates.

    place: of the explained item among them.
    """

    release: Release
    catalogue: Catalogue
    titles: Mapping[str, str]
    user: pa.Table
    items: KnownItems
    rows: Tensor
    place: int
    at: datetime

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """All entries of ``recent``, oldest first."""
        return self.user["recent"][0].as_py() or []

    @cached_property
    def state(self) -> KnownUser:
        return self.states([self.history])

    @property
    def others(self) -> Tensor:
        """(C,) bool: the other candidates."""
        return torch.arange(len(self.rows)) != self.place

    def states(self, histories: Sequence[Sequence[Mapping[str, Any]]]) -> KnownUser:
        """The user (V,) with each of these histories, read as the draw read the real one."""
        variants = self.user.take(pa.array([0] * len(histories)))
        field = self.user.schema.field("recent")
        variants = variants.set_column(self.user.schema.get_field_index("recent"), field, pa.array(histories, field.type))
        return user_states(variants.combine_chunks(), self.catalogue, self.at, self.release.ranker.config.user_counters)

    def cross(self, state: KnownUser) -> Tensor:
        """(V, C, X)."""
        return cross_features(state, self.catalogue, self.items, self.rows.expand(len(state), -1))

    def score(self, state: KnownUser, cross: Tensor) -> Tensor:
        """(V, C, T): the ranker's logits of every candidate."""
        return self.release.ranker.score(state, self.rows.expand(len(state), -1), self.catalogue.table, self.items, cross)

    def log_odds(self, logits: Tensor) -> Tensor:
        """(..., 2) of logits (..., T): of the expected reward, and of the first task."""
        reward = reward_log_odds(expected_reward(logits, self.release.task_rewards), self.release.best_reward)
        return torch.stack([reward, logits[..., 0]], dim=-1)


def read_known(settings: Settings, row: Row) -> Known:
    """Raises UserError where the release's models or the pinned versions are gone."""
    folder, release_id, versions = release_folder(settings, row.decision["release_id"]), row.decision["release_id"], row.feature_versions
    check_models(folder, release_id)
    release = load_release(folder, release_id, tuple(term.weight for term in settings.reward.terms))
    config, at, user_id = release.ranker.config, end_of(row.decision["hour"]), row.decision["user_id"]
    with _kept(versions):
        items = current_rows(read_table(settings, "items", version=versions["items"]))
        embeddings = read_table(settings, "item_embeddings", version=versions["item_embeddings"])
        features = read_table(settings, "item_features", version=versions["item_features"])
        user = read_table(settings, "user_features", version=versions["user_features"], where=pc.field("user_id") == user_id)
    catalogue = build_catalogue(items, embeddings, config.encoder_version)
    return Known(
        release=release, catalogue=catalogue, titles=dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True)),
        user=user if len(user) else pa.Table.from_pylist([{"user_id": user_id, "as_of": at}], schema=user.schema),
        items=item_state(catalogue, features, at, config.item_counters),
        rows=torch.from_numpy(catalogue.rows(pa.array(row.decision["candidates"]))), place=row.place, at=at,
    )  # fmt: skip


@contextmanager
def _kept(versions: Mapping[str, int]) -> Iterator[None]:
    try:
        yield
    except (DeltaError, OSError) as error:
        pinned = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        raise UserError(
            f"the features of this draw (versions: {pinned}) cannot be read any more: {str(error).splitlines()[0]}; versions are kept for "
            "7 days, so explain a slate that was drawn since"
        ) from None
