"""Rows of the tables as the ranker's and the policy's inputs: one code for training, serving and evaluation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.records import RankerBatch, UserState
from spark_jobs.catalogue import Catalogue
from spark_jobs.contracts import COUNTERS, HISTORY
from spark_jobs.counters import decayed, matrix, with_rates

CROSS = ("tag_affinity",)


def user_states(users: pa.Table | pa.RecordBatch, catalogue: Catalogue, at: datetime, names: tuple[str, ...]) -> UserState:
    """States of ``user_features`` rows, decayed to ``at``."""
    at_us = int(at.timestamp() * 1e6)
    as_of = np.asarray(users.column("as_of").cast(pa.int64()))
    counters = decayed(matrix(users), as_of, at_us)
    return _state(counters, _flat(users.column("recent")), np.full(len(users), at_us), catalogue, names)


def examples_batch(
    examples: pa.Table, catalogue: Catalogue, names: tuple[str, ...], tasks: Sequence[str], *, corrections: bool = True
) -> RankerBatch:
    """``training_examples`` rows as a batch. A late label enters as (+1, new labels) and (−1, previous labels): one positive net."""
    known_us = np.asarray(examples.column("known_at").cast(pa.int64()))
    user = _flat(examples.column("user"))
    state = _state(matrix(_columns(user)), user.field("recent"), known_us, catalogue, names)
    item = torch.from_numpy(catalogue.rows(_flat(examples.column("item_id"))))
    age_h = np.maximum(known_us - catalogue.published_us[item.numpy()], 0) / 3.6e9
    batch = RankerBatch(
        user=state,
        item=item,
        item_counters=_floats(with_rates(matrix(_columns(_flat(examples.column("item")))), names)),
        item_age_h=_floats(age_h),
        cross=(tag_profiles(state, catalogue) * catalogue.tags[item]).sum(-1, keepdim=True),
        position=torch.from_numpy(np.asarray(examples.column("position")).astype(np.int64)),
        labels=_labels(examples.column("labels"), tasks),
        weight=torch.ones(len(examples)),
    )
    return _with_corrections(batch, examples.column("previous_labels"), tasks) if corrections else batch


def cross_features(state: UserState, catalogue: Catalogue, candidates: torch.Tensor) -> torch.Tensor:
    """(U, C, X) for item rows (U, C)."""
    affinity = tag_profiles(state, catalogue) @ catalogue.tags.T  # (U, N+1)
    return affinity.gather(1, candidates).unsqueeze(-1)


def tag_profiles(state: UserState, catalogue: Catalogue) -> torch.Tensor:
    """(U, G): mean tag row of the history, weighted by the strength of the reactions."""
    weight = state.history_weight * (state.history > 0)
    profile = F.embedding_bag(state.history, catalogue.tags, per_sample_weights=weight, mode="sum")
    return profile / weight.sum(1, keepdim=True).clamp(min=1e-6)


def _state(
    counters: NDArray[np.float64], recent: pa.Array, at_us: NDArray[np.int64], catalogue: Catalogue, names: tuple[str, ...]
) -> UserState:
    """``recent``: list array of history entries, oldest first, placed so that the newest stands last."""
    offsets = recent.offsets.to_numpy()
    lengths = np.where(recent.is_valid(), np.diff(offsets), 0)
    entries = recent.values
    row = np.repeat(np.arange(len(recent)), lengths)
    source = np.repeat(offsets[:-1], lengths) + _within(lengths)
    column = HISTORY - np.repeat(lengths, lengths) + _within(lengths)
    items, age_h, weight = (np.zeros((len(recent), HISTORY), dtype=t) for t in (np.int64, np.float32, np.float32))
    items[row, column] = catalogue.rows(entries.field("item_id"))[source]
    ts = np.asarray(entries.field("ts").cast(pa.int64()))
    age_h[row, column] = np.maximum(at_us[row] - ts[source], 0) / 3.6e9
    weight[row, column] = np.asarray(entries.field("weight"))[source]
    return UserState(_floats(with_rates(counters, names)), *(torch.from_numpy(part) for part in (items, age_h, weight)))


def _within(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, … within each group of these lengths."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(starts, lengths)


def _labels(labels: pa.ChunkedArray, tasks: Sequence[str]) -> torch.Tensor:
    """(B, T); a missing label is 0."""
    struct = _flat(labels)
    return _floats(np.stack([np.nan_to_num(np.asarray(pc.fill_null(struct.field(task), 0.0))) for task in tasks], axis=1))


def _with_corrections(batch: RankerBatch, previous: pa.ChunkedArray, tasks: Sequence[str]) -> RankerBatch:
    late = torch.from_numpy(np.asarray(_flat(previous).is_valid()))
    if not late.any():
        return batch
    old = batch.rows(late.nonzero().squeeze(1))
    return concatenated([batch, replace(old, labels=_labels(previous, tasks)[late], weight=-old.weight)])


def concatenated(batches: Sequence[RankerBatch]) -> RankerBatch:
    """All rows of at least one batch."""
    user = UserState(*(torch.cat([getattr(batch.user, name) for batch in batches]) for name in UserState.__dataclass_fields__))
    names = [name for name in RankerBatch.__dataclass_fields__ if name != "user"]
    return RankerBatch(user, *(torch.cat([getattr(batch, name) for batch in batches]) for name in names))


def _columns(struct: pa.StructArray) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([struct.field(name) for name in COUNTERS], names=list(COUNTERS))


def _flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _floats(array: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
