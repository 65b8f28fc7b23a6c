"""Typed records that pass between the layers.

Letters: U users, N items, H history length, C candidates, K slate positions, S slates, B rows, T tasks, D text width,
V image width, Q searched texts.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TensorRecord:
    """A record whose fields are tensors (or records) that share their first dimension."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        values = {}
        for field in fields(self):
            value = getattr(self, field.name)
            values[field.name] = value.map(function) if isinstance(value, TensorRecord) else function(value)
        return type(self)(**values)

    def rows(self, index: Tensor | slice) -> Self:
        return self.map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device))

    def __len__(self) -> int:
        first = getattr(self, fields(self)[0].name)
        return len(first)


@dataclass(frozen=True)
class ItemTable(TensorRecord):
    """Vectors by item row, as they came; row 0 is all zeros and is padding or an unknown item.

    Rows beyond the items' are texts that people searched for.
    """

    vectors: Tensor  # (N+1+Q, D) of the texts, by the encoder
    images: Tensor  # (N+1+Q, V) zeros where there is none; V = 0 for a catalogue without images

    @classmethod
    def of_texts(cls, vectors: Tensor) -> "ItemTable":
        """vectors: (N+1+Q, D), row 0 zeros; no images."""
        return cls(vectors, vectors.new_zeros(len(vectors), 0))

    @classmethod
    def from_numpy(cls, vectors: NDArray[np.floating], images: NDArray[np.floating] | None = None) -> "ItemTable":
        """vectors: (N, D) and images: (N, V); item n of them becomes row n + 1."""
        images = np.zeros((len(vectors), 0)) if images is None else images
        return cls(*(_below_zeros(torch.as_tensor(np.asarray(array, dtype=np.float32))) for array in (vectors, images)))


def _below_zeros(rows: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1, rows.shape[1]), rows])


@dataclass(frozen=True)
class UserState(TensorRecord):
    """What is known of a user at the draw; one row a user (or an example)."""

    counters: Tensor  # (U, C_u) raw decayed counters, >= 0
    history: Tensor  # (U, H) int64 item rows, newest last, 0 = padding
    history_age_h: Tensor  # (U, H) hours since the reaction, >= 0
    history_weight: Tensor  # (U, H) strength of the reaction, 0..1


@dataclass(frozen=True)
class MetItems(TensorRecord):
    """What each user reacted to, much further back than the history that is attended to; one row a user."""

    items: Tensor  # (U, M) int64 item rows, 0 = padding
    age_h: Tensor  # (U, M) hours since the last time, >= 0
    times: Tensor  # (U, M) how often


@dataclass(frozen=True)
class KnownUser(UserState):
    """A user's state with what the pairs of user and item are described by."""

    met: MetItems


@dataclass(frozen=True)
class ItemState(TensorRecord):
    """What is known of every item row at the draw; row 0 is zeros."""

    counters: Tensor  # (N+1, C_i) raw decayed counters, >= 0
    age_h: Tensor  # (N+1,) hours since publication, else since it was first seen, else 0


@dataclass(frozen=True)
class RankerBatch(TensorRecord):
    """Training examples, one row an impression, with the features as known before its hour."""

    user: UserState
    item: Tensor  # (B,) int64 item row
    item_counters: Tensor  # (B, C_i)
    item_age_h: Tensor  # (B,)
    cross: Tensor  # (B, X) user-item counters
    position: Tensor  # (B,) int64, 0-based as logged; serving scores at position 0
    labels: Tensor  # (B, T) in 0..1, tasks in the ranker's order
    weight: Tensor  # (B,)
    query: Tensor  # (B,) int64 row of the text that was searched for, 0 = none


@dataclass(frozen=True)
class SlateLimits(TensorRecord):
    """What binds a draw beside the logits: categories that are full are left out, and some positions are not drawn at all."""

    category: Tensor  # (S, C) int64, -1 = none
    cap: Tensor  # (S, C) int64 most items of the candidate's category in one slate
    pinned: Tensor  # (S, K) int64 index of the candidate that a rule puts there, -1 = drawn

    @classmethod
    def none(cls, slates: int, candidates: int, size: int) -> "SlateLimits":
        free = torch.full((slates, candidates), -1, dtype=torch.int64)
        return cls(free, torch.full_like(free, size), torch.full((slates, size), -1, dtype=torch.int64))


@dataclass(frozen=True)
class LoggedSlates(TensorRecord):
    """Slates as drawn and shown, with the decision's whole candidate set."""

    user_vector: Tensor  # (S, V)
    candidates: Tensor  # (S, C, P) candidate features; column 0 is the utility
    mask: Tensor  # (S, C) bool, True where the candidate exists
    behavior_logits: Tensor  # (S, C)
    action: Tensor  # (S, K) int64 index into the candidates
    shown: Tensor  # (S, K) bool, True up to the last counted position
    propensity: Tensor  # (S, K) given the items above
    reward: Tensor  # (S, K)
    user: Tensor  # (S,) int64 user index, the resampling unit
    following: Tensor  # (S,) int64 row in the whole record of the user's next slate in the session, -1 = none
    drawn_by: Tensor  # (S,) int64 >= 0, which of the logging policies drew it
    limits: SlateLimits

    def check_propensities(self) -> None:
        """ValueError where a shown position has no propensity in (0, 1]."""
        propensity, shown = self.propensity, self.shown
        missing = int((shown & propensity.isnan()).sum())
        outside = int((shown & ((propensity <= 0) | (propensity > 1 + 1e-6))).sum())
        if missing or outside:
            raise ValueError(
                f"off-policy work needs a propensity in (0, 1] at each shown position: of {int(shown.sum())} shown, "
                f"{missing} are missing and {outside} lie outside; leave these slates out and count them"
            )


@dataclass(frozen=True)
class PolicyValue:
    """Mean reward a slate with its interval over `n` slates; the largest weight is that of a last shown position."""

    mean: float
    low: float
    high: float
    effective_sample_size: float
    max_importance_weight: float
    n: int
