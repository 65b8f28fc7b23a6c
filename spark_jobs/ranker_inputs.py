"""Rows of the tables as the ranker's and the policy's inputs: one code for training, serving and evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.likers import Likers
from models.records import KnownUser, MetItems, RankerBatch, UserState
from spark_jobs.catalogue import MICROSECONDS_AN_HOUR, Catalogue, KnownItems, microseconds
from spark_jobs.contracts import COUNTERS, HISTORY
from spark_jobs.counters import decayed, matrix, with_rates

RELEVANCE = "query_match"
LIKED_TOGETHER = ("liked_together", "liked_together_lately")
CROSS = ("tag_affinity", "met_times", "met_freshness", *LIKED_TOGETHER, RELEVANCE)
_MATCHED_AT_ONCE = 8192  # pairs of query and item


def user_states(users: pa.Table | pa.RecordBatch, catalogue: Catalogue, at: datetime, names: tuple[str, ...]) -> KnownUser:
    """States of ``user_features`` rows, decayed to ``at``."""
    at_us = int(at.timestamp() * 1e6)
    as_of = np.asarray(users.column("as_of").cast(pa.int64()))
    counters = decayed(matrix(users), as_of, at_us)
    recent, at_each = _flat(users.column("recent")), np.full(len(users), at_us)
    state = _state(counters, recent, at_each, catalogue, names)
    met = _newest(recent, _longest(recent), at_each, catalogue, ("times",))
    return KnownUser(state.counters, state.history, state.history_age_h, state.history_weight, MetItems(*met))


class KnownLikers(Protocol):
    """Who had liked what before any instant."""

    def parts(self, known_us: NDArray[np.int64], catalogue: Catalogue) -> "Iterator[tuple[NDArray[np.int64], Likers]]":
        """Rows (of those known at these instants) that see the same, and what they see."""
        ...


def examples_batch(
    examples: pa.Table, catalogue: Catalogue, names: tuple[str, ...], tasks: Sequence[str], likers: KnownLikers, *, corrections: bool = True
) -> RankerBatch:
    """``training_examples`` rows as a batch. A late label enters as (+1, new labels) and (−1, previous labels): one positive net.

    ``likers``: who had liked what before each example. Raises ValueError where an example's history goes beyond its ``known_at``: a model
    of such rows predicts what it was told.
    """
    known_us = np.asarray(examples.column("known_at").cast(pa.int64()))
    user = _flat(examples.column("user"))
    _check_known(user.field("recent"), known_us)
    state = _state(matrix(_columns(user)), user.field("recent"), known_us, catalogue, names)
    item = torch.from_numpy(catalogue.rows(_flat(examples.column("item_id"))))
    age_h = catalogue.age_h(item.numpy(), microseconds(examples.column("item_first_seen")), known_us)
    query = torch.from_numpy(catalogue.query_rows(_flat(examples.column("query"))))
    affinity = (tag_profiles(state, catalogue) * catalogue.tags[item]).sum(-1)
    batch = RankerBatch(
        user=state,
        item=item,
        item_counters=_floats(with_rates(matrix(_columns(_flat(examples.column("item")))), names)),
        item_age_h=_floats(age_h),
        cross=_cross(
            affinity, *_met(examples.column("met"), known_us), _liked_before(examples, known_us, state, item, likers, catalogue),
            query_match(catalogue, query, item),
        ),
        position=torch.from_numpy(np.asarray(examples.column("position")).astype(np.int64)),
        labels=_labels(examples.column("labels"), tasks),
        weight=torch.ones(len(examples)),
        query=query,
    )
    return _with_corrections(batch, examples.column("previous_labels"), tasks) if corrections else batch


def _liked_before(
    examples: pa.Table, known_us: NDArray[np.int64], state: UserState, item: torch.Tensor, likers: KnownLikers, catalogue: Catalogue
) -> torch.Tensor:
    """(B, 2) in the order of LIKED_TOGETHER. The examples of one user that know the same share a history, which is read once."""
    codes = _flat(examples.column("user_id")).dictionary_encode().indices.to_numpy().astype(np.int64)
    found = np.zeros((len(examples), len(LIKED_TOGETHER)), dtype=np.float32)
    for rows, known in likers.parts(known_us, catalogue):
        times, time = np.unique(known_us[rows], return_inverse=True)
        _, first, user = np.unique(codes[rows] * len(times) + time, return_index=True, return_inverse=True)
        history, weight = (part[torch.from_numpy(rows[first])].numpy() for part in (state.history, state.history_weight))
        found[rows] = known.liked_together(history, weight, user, item.numpy()[rows])
    return torch.from_numpy(found)


def _check_known(recent: pa.Array, known_us: NDArray[np.int64]) -> None:
    lengths = _lengths(recent)
    last = recent.offsets.to_numpy()[1:][lengths > 0] - 1  # the newest entry of each history
    newest_us = np.asarray(recent.values.field("ts").take(pa.array(last)).cast(pa.int64()))
    if late := int((newest_us > known_us[lengths > 0]).sum()):
        raise ValueError(
            f"{late} of {len(recent)} training examples hold reactions later than their known_at; nothing can be learned from such "
            "rows, make their hours again with `recloop rebuild`"
        )


def cross_features(
    user: KnownUser, catalogue: Catalogue, of_items: KnownItems, candidates: torch.Tensor, query: torch.Tensor | None = None
) -> torch.Tensor:
    """(U, C, X) for item rows (U, C), and rows (U,) of what each user searched for."""
    affinity = tag_profiles(user, catalogue) @ catalogue.tags.T  # (U, N+1)
    items, order = user.met.items.sort(dim=1)
    place = torch.searchsorted(items, candidates.contiguous()).clamp(max=items.shape[1] - 1)
    there = (items.gather(1, place) == candidates) & (candidates > 0)
    place = order.gather(1, place)
    match = torch.zeros(candidates.shape)
    if query is not None:
        match = query_match(catalogue, query.unsqueeze(1).expand_as(candidates).flatten(), candidates.flatten()).view_as(match)
    owner = np.repeat(np.arange(len(candidates)), candidates.shape[1])
    liked = of_items.likers.liked_together(user.history.numpy(), user.history_weight.numpy(), owner, candidates.flatten().numpy())
    met = user.met.times.gather(1, place) * there, user.met.age_h.gather(1, place)
    return _cross(affinity.gather(1, candidates), *met, torch.from_numpy(liked).view(*candidates.shape, -1), match)


def query_match(catalogue: Catalogue, query: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
    """(n,) cosine of the texts at these rows (n,) each; 0 where nothing was searched for."""
    vectors, found = catalogue.table.vectors, torch.zeros(len(query))
    for part in (query > 0).nonzero().squeeze(1).split(_MATCHED_AT_ONCE):
        found[part] = F.cosine_similarity(vectors[query[part]], vectors[item[part]], dim=-1)
    return found


def _cross(affinity: torch.Tensor, times: torch.Tensor, age_h: torch.Tensor, liked: torch.Tensor, match: torch.Tensor) -> torch.Tensor:
    """(..., X) in the order of CROSS; ``times`` is 0 for an item never met. Freshness: 1 now, 1/2 after a day, 1/31 after a month.

    liked: (..., 2).
    """
    return torch.stack([affinity, times, (times > 0) / (1 + age_h / 24), *liked.unbind(-1), match], dim=-1)


def _met(met: pa.ChunkedArray, at_us: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """How often and how long ago the user met the item, in hours (B,) each; 0 times where never."""
    last, times = (pc.fill_null(pc.struct_field(_flat(met), name), 0) for name in ("ts", "times"))
    age_h = np.maximum(at_us - np.asarray(last.cast(pa.int64())), 0) / MICROSECONDS_AN_HOUR
    return _floats(np.asarray(times)), _floats(age_h)


def tag_profiles(state: UserState, catalogue: Catalogue) -> torch.Tensor:
    """(U, G): mean tag row of the history, weighted by the strength of the reactions."""
    weight = state.history_weight * (state.history > 0)
    profile = F.embedding_bag(state.history, catalogue.tags, per_sample_weights=weight, mode="sum")
    return profile / weight.sum(1, keepdim=True).clamp(min=1e-6)


def _state(
    counters: NDArray[np.float64], recent: pa.Array, at_us: NDArray[np.int64], catalogue: Catalogue, names: tuple[str, ...]
) -> UserState:
    return UserState(_floats(with_rates(counters, names)), *_newest(recent, HISTORY, at_us, catalogue, ("weight",)))


def _newest(
    recent: pa.Array, width: int, at_us: NDArray[np.int64], catalogue: Catalogue, fields: tuple[str, ...]
) -> tuple[torch.Tensor, ...]:
    """Item rows, ages in hours and ``fields`` of the newest entries, (U, width) each, the newest last, zeros before the oldest.

    ``recent``: list array of history entries, oldest first.
    """
    ends = recent.offsets.to_numpy()[1:]
    lengths = np.minimum(_lengths(recent), width)
    row = np.repeat(np.arange(len(recent)), lengths)
    source = np.repeat(ends - lengths, lengths) + _within(lengths)
    column = width - np.repeat(lengths, lengths) + _within(lengths)
    ids, ts = (recent.values.field(name).take(pa.array(source)) for name in ("item_id", "ts"))
    values: list[NDArray[np.int64] | NDArray[np.float64]] = [
        catalogue.rows(ids), np.maximum(at_us[row] - np.asarray(ts.cast(pa.int64())), 0) / MICROSECONDS_AN_HOUR,
        *[np.asarray(recent.values.field(name))[source] for name in fields],
    ]  # fmt: skip
    placed = [np.zeros((len(recent), width), dtype=np.int64 if number == 0 else np.float32) for number in range(len(values))]
    for target, value in zip(placed, values, strict=True):
        target[row, column] = value
    return tuple(torch.from_numpy(target) for target in placed)


def _lengths(recent: pa.Array) -> NDArray[np.int64]:
    return np.where(recent.is_valid(), np.diff(recent.offsets.to_numpy()), 0)


def _longest(recent: pa.Array) -> int:
    """At least 1."""
    return int(max(1, _lengths(recent).max(initial=0)))


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
