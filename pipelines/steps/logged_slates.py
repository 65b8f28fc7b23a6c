"""Shown slates as tensors, with the policy's inputs recomputed at the draw for the release that is to be judged.

Letters: S slates, C candidates, K positions.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.records import LoggedSlates
from pipelines.hours import end_of
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from pipelines.steps.shown_slates import ShownSlates
from spark_jobs.catalogue import Catalogue, item_state
from spark_jobs.drawing import Candidates, Release, describe, slate_logits
from spark_jobs.ranker_inputs import user_states


@dataclass(frozen=True)
class Composed:
    """A release on logged slates: the slates with its inputs, and its logits (S, C) float64."""

    slates: LoggedSlates
    logits: Tensor


@dataclass(frozen=True)
class SlateReader:
    """Shown slates under any release; C is the most candidates of any slate."""

    settings: Settings
    catalogue: Catalogue
    shown: ShownSlates

    @cached_property
    def rows(self) -> Tensor:
        """(S, C) item rows of the candidates, 0 = padding."""
        column = self._column("candidates")
        return _padded(column, torch.from_numpy(self.catalogue.rows(column.flatten())), 0)

    @cached_property
    def behavior_logits(self) -> Tensor:
        return self._numbers("logits", -torch.inf)

    def composed(self, release: Release) -> Composed:
        """What this release's ranker and policy would have seen, and given, at each draw."""
        features, vectors, logits = [], [], []
        where = torch.zeros(0, dtype=torch.int64)
        for rows, candidates, found in self._groups(release):
            where = torch.cat([where, rows])
            features.append(candidates.features)
            vectors.append(candidates.user_vectors)
            logits.append(found)
        order = where.argsort()
        slates = self._slates(torch.cat(features)[order], torch.cat(vectors)[order])
        return Composed(slates, torch.cat(logits)[order])

    def as_drawn(self) -> LoggedSlates:
        """The slates without the policy's inputs: enough for the propensity audit."""
        count = len(self.shown)
        return self._slates(torch.zeros(*self.rows.shape, 0), torch.zeros(count, 0))

    def _groups(self, release: Release) -> Iterator[tuple[Tensor, Candidates, Tensor]]:
        """Slates drawn from the same feature tables, described together."""
        config, decisions = release.ranker.config, self.shown.decisions
        pinned = [_versions(versions) for versions in decisions["feature_versions"].to_pylist()]
        draws = list(zip(decisions["hour"].to_pylist(), pinned, strict=True))
        for draw in sorted(set(draws)):
            where = np.flatnonzero([other == draw for other in draws])
            at, (user_version, item_version) = end_of(draw[0]), draw[1]
            ids = decisions["user_id"].combine_chunks().take(pa.array(where))
            users = _known_users(self.settings, user_version, ids)
            state = user_states(users, self.catalogue, at, config.user_counters)
            items = item_state(self.catalogue, read_table(self.settings, "item_features", version=item_version), at, config.item_counters)
            rows = self.rows[torch.from_numpy(where)]
            candidates = describe(release, state, self.catalogue, items, rows, rows > 0)
            yield torch.from_numpy(where), candidates, slate_logits(release, state, candidates, items)

    def _slates(self, features: Tensor, user_vectors: Tensor) -> LoggedSlates:
        users = self._column("user_id").dictionary_encode().indices.to_numpy().astype(np.int64)
        size = self.shown.shown.shape[1]
        return LoggedSlates(
            user_vector=user_vectors, candidates=features, mask=self.rows > 0, behavior_logits=self.behavior_logits,
            action=self._numbers("action", 0, size).long(), shown=torch.from_numpy(self.shown.shown),
            propensity=self._numbers("propensities", 1.0, size), reward=torch.from_numpy(self.shown.reward).double(),
            user=torch.from_numpy(users),
        )  # fmt: skip

    def _column(self, name: str) -> pa.Array:
        return self.shown.decisions[name].combine_chunks()

    def _numbers(self, name: str, padding: float, width: int | None = None) -> Tensor:
        column = self._column(name)
        return _padded(column, torch.from_numpy(column.flatten().to_numpy().copy()), padding, width)


def _known_users(settings: Settings, version: int, ids: pa.Array) -> pa.Table:
    """The users' feature rows at this version, one for each id."""
    users = read_table(settings, "user_features", version=version, where=pc.field("user_id").isin(pc.unique(ids)))
    return users.take(pc.index_in(ids, value_set=users["user_id"].combine_chunks()))


def _versions(pinned: list[dict[str, Any]]) -> tuple[int, int]:
    found = {entry["table"]: entry["version"] for entry in pinned}
    return found["user_features"], found["item_features"]


def _padded(lists: pa.ListArray, values: Tensor, padding: float, width: int | None = None) -> Tensor:
    """(rows, width) of a list column whose flattened values are given."""
    lengths: NDArray[np.int64] = pc.list_value_length(lists).to_numpy().astype(np.int64)
    width = max(int(lengths.max(initial=0)), 1) if width is None else width
    inside = torch.from_numpy(np.arange(width)[None, :] < lengths[:, None])
    filled = torch.full((len(lists), width), padding, dtype=values.dtype)
    filled[inside] = values
    return filled
