"""Shown slates as tensors, with the policy's inputs recomputed at the draw for the release that is to be judged.

Letters: S slates, C candidates, K positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ranker import RankerConfig
from models.records import KnownUser, LoggedSlates, SlateLimits
from pipelines.hours import end_of, hour_number
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from pipelines.steps.shown_slates import ShownSlates
from spark_jobs.candidates import describe
from spark_jobs.catalogue import Catalogue, KnownItems, item_state
from spark_jobs.drawing import slate_logits
from spark_jobs.ranker_inputs import user_states
from spark_jobs.release import Release


@dataclass(frozen=True)
class Composed:
    """A release on logged slates: the slates with its inputs, and its logits (S, C) float64."""

    slates: LoggedSlates
    logits: Tensor


@dataclass(frozen=True)
class Drawn:
    """Slates drawn from the same feature tables: which of all they are, their hour, what was known of their users and of the items."""

    where: Tensor
    hour: str
    users: KnownUser
    items: KnownItems


@dataclass(frozen=True)
class SlateReader:
    """Shown slates under any release; C is the most candidates of any slate."""

    settings: Settings
    catalogue: Catalogue
    shown: ShownSlates
    _read: dict[tuple[str, ...], list[Drawn]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> Tensor:
        """(S, C) item rows of the candidates, 0 = padding."""
        column = self._column("candidates")
        return _padded(column, torch.from_numpy(self.catalogue.rows(column.flatten())), 0)

    @cached_property
    def offsets(self) -> Tensor:
        """(S, C) what business rules added to the logits at the draw."""
        return self._numbers("offsets", 0.0, self.rows.shape[1])

    @cached_property
    def limits(self) -> SlateLimits:
        """What bound each draw beside its logits."""
        size = self.shown.shown.shape[1]
        category = self._numbers("categories", -1, self.rows.shape[1]).long()
        cap = torch.from_numpy(pc.fill_null(self._column("category_cap"), size).to_numpy().astype(np.int64)).unsqueeze(1)
        return SlateLimits(category, torch.where(category >= 0, cap, size), self._numbers("pinned", -1, size).long())

    @cached_property
    def behavior_logits(self) -> Tensor:
        return self._numbers("logits", -torch.inf)

    def composed(self, release: Release) -> Composed:
        """What this release's ranker and policy would have seen, and given, at each draw."""
        features, vectors, logits = [], [], []
        groups = self.drawn_groups(release.ranker.config)
        for group in groups:
            rows = self.rows[group.where]
            candidates = describe(release, group.users, self.catalogue, group.items, rows, rows > 0)
            features.append(candidates.features)
            vectors.append(candidates.user_vectors)
            logits.append(slate_logits(release, group.users, candidates, group.items, self.offsets[group.where]))
        order = torch.cat([group.where for group in groups]).argsort()
        slates = self._slates(torch.cat(features)[order], torch.cat(vectors)[order])
        return Composed(slates, torch.cat(logits)[order])

    def reactions(self, config: RankerConfig) -> Tensor:
        """(S, H) item rows of what each slate's user had reacted to before the draw, newest last, 0 = padding."""
        groups = self.drawn_groups(config)
        return torch.cat([group.users.history for group in groups])[torch.cat([group.where for group in groups]).argsort()]

    def as_drawn(self) -> LoggedSlates:
        """The slates without the policy's inputs: enough for the propensity audit."""
        count = len(self.shown)
        return self._slates(torch.zeros(*self.rows.shape, 0), torch.zeros(count, 0))

    def drawn_groups(self, config: RankerConfig) -> list[Drawn]:
        """Read once for rankers that read the same counters: many releases are compared on one log."""
        names = (*config.user_counters, *config.item_counters)
        if names not in self._read:
            self._read[names] = list(self._groups(config))
        return self._read[names]

    def _groups(self, config: RankerConfig) -> Iterator[Drawn]:
        decisions = self.shown.decisions
        pinned = [_versions(versions) for versions in decisions["feature_versions"].to_pylist()]
        draws = list(zip(decisions["hour"].to_pylist(), pinned, strict=True))
        for draw in sorted(set(draws)):
            where = np.flatnonzero([other == draw for other in draws])
            at, (user_version, item_version) = end_of(draw[0]), draw[1]
            ids = decisions["user_id"].combine_chunks().take(pa.array(where))
            users = user_states(_known_users(self.settings, user_version, ids), self.catalogue, at, config.user_counters)
            found = read_table(self.settings, "item_features", version=item_version)
            yield Drawn(torch.from_numpy(where), draw[0], users, item_state(self.catalogue, found, at, config.item_counters))

    def _slates(self, features: Tensor, user_vectors: Tensor) -> LoggedSlates:
        codes = (self._column(name).dictionary_encode().indices.to_numpy() for name in ("user_id", "release_id"))
        users, drawn_by = (torch.from_numpy(code.astype(np.int64)) for code in codes)
        size = self.shown.shown.shape[1]
        hours = np.array([hour_number(hour) for hour in self._column("hour").to_pylist()], dtype=np.int64)
        return LoggedSlates(
            user_vector=user_vectors, candidates=features, mask=self.rows > 0, behavior_logits=self.behavior_logits,
            action=self._numbers("action", 0, size).long(), shown=torch.from_numpy(self.shown.shown),
            propensity=self._numbers("propensities", 1.0, size), reward=torch.from_numpy(self.shown.reward).double(),
            user=users, following=torch.from_numpy(following(users.numpy(), hours, self.settings.policy.session_h)),
            drawn_by=drawn_by, limits=self.limits,
        )  # fmt: skip

    def _column(self, name: str) -> pa.Array:
        return self.shown.decisions[name].combine_chunks()

    def _numbers(self, name: str, padding: float, width: int | None = None) -> Tensor:
        column = self._column(name)
        return _padded(column, torch.from_numpy(column.flatten().to_numpy().copy()), padding, width)


def following(user: NDArray[np.int64], hour: NDArray[np.int64], session_h: int) -> NDArray[np.int64]:
    """(S,) row of the same user's next slate where it was drawn at most ``session_h`` hours later, else -1."""
    order = np.lexsort((hour, user))
    found = np.full(len(user), -1, dtype=np.int64)
    here, later = order[:-1], order[1:]
    goes_on = (user[here] == user[later]) & (hour[later] - hour[here] <= session_h)
    found[here[goes_on]] = later[goes_on]
    return found


def _known_users(settings: Settings, version: int, ids: pa.Array) -> pa.Table:
    """The users' feature rows at this version, one for each id."""
    users = read_table(settings, "user_features", version=version, where=pc.field("user_id").isin(pc.unique(ids)))
    return users.take(pc.index_in(ids, value_set=users["user_id"].combine_chunks()))


def _versions(pinned: list[dict[str, Any]]) -> tuple[int, int]:
    found = {entry["table"]: entry["version"] for entry in pinned}
    return found["user_features"], found["item_features"]


def _padded(lists: pa.ListArray, values: Tensor, padding: float, width: int | None = None) -> Tensor:
    """(rows, width) of a list column whose flattened values are given."""
    lengths: NDArray[np.int64] = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    width = max(int(lengths.max(initial=0)), 1) if width is None else width
    inside = torch.from_numpy(np.arange(width)[None, :] < lengths[:, None])
    filled = torch.full((len(lists), width), padding, dtype=values.dtype)
    filled[inside] = values
    return filled
