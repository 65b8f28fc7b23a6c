"""The simulated world: how likely each user clicks each item in each hour, and what that is worth. For evaluation only.

logit = intercept + taste + quality + residual + drift + position; no text embedding is in it.
U users, N items, K positions, D columns (genres, keywords, residual).
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.hashing import Hashes, id_hash, mix
from pipelines.errors import UserError
from pipelines.hours import hour_number
from pipelines.local.drift import SPEEDS, Speed, TasteWalk, buzz
from pipelines.local.landing import write_file
from pipelines.local.reactions import LOGIT_SD, expected_given_click, position_effect, sigmoid
from pipelines.settings import Reward

STRANGER_NOISE = 0.5  # of a column's standard deviation over users
NEUTRAL_DURATION_S = 6000
BLOCK = 512
_PLAIN = ("seed", "start_hour", "speed", "source", "intercept", "genres", "keywords")
_ARRAYS = ("user_vectors", "activity", "item_vectors", "item_quality", "duration_s", "published")


@dataclass(frozen=True)
class World:
    """The parameters of the truth. ``published``: hour number of each item's publication, 0 = from the start."""

    seed: int
    start_hour: str
    speed: Speed
    source: str
    intercept: float
    genres: int
    keywords: int
    user_ids: list[str]
    user_vectors: NDArray[np.float32]  # (U, D)
    activity: NDArray[np.float64]  # (U,) chance of a visit in an hour
    item_ids: list[str]
    item_vectors: NDArray[np.float32]  # (N, D)
    item_quality: NDArray[np.float64]  # (N,)
    duration_s: NDArray[np.int64]  # (N,)
    published: NDArray[np.int64]  # (N,)

    @classmethod
    def load(cls, folder: Path) -> "World":
        """Raises UserError where no world was saved."""
        if not (folder / "world.json").exists():
            raise UserError(f"no simulated world under {folder}; run `recloop demo-data movielens` first")
        plain = json.loads((folder / "world.json").read_text())
        with np.load(folder / "world.npz", allow_pickle=False) as arrays:
            values = {name: arrays[name] for name in _ARRAYS}
            ids = {name: arrays[name].tolist() for name in ("user_ids", "item_ids")}
        return cls(**{name: plain[name] for name in _PLAIN}, **ids, **values)

    def save(self, folder: Path) -> None:
        """``world.npz``, then ``world.json``, which also states the variance shares."""
        content = io.BytesIO()
        ids = {"user_ids": np.array(self.user_ids), "item_ids": np.array(self.item_ids)}
        np.savez(content, **ids, **{name: getattr(self, name) for name in _ARRAYS})  # type: ignore[arg-type]
        write_file(folder / "world.npz", content.getvalue())
        plain = {name: getattr(self, name) for name in _PLAIN} | {"variance_shares": self.variance_shares()}
        write_file(folder / "world.json", (json.dumps(plain, indent=2) + "\n").encode())

    def variance_shares(self) -> dict[str, float]:
        """Shares of taste, quality and residual in the sum of their variances over all (user, item) pairs."""
        taste = slice(0, self.genres + self.keywords)
        found = {
            "taste": np.var(self.user_vectors[:, taste] @ self.item_vectors[:, taste].T, dtype=np.float64),
            "quality": np.var(self.item_quality),
            "residual": np.var(self.user_vectors[:, taste.stop :] @ self.item_vectors[:, taste.stop :].T, dtype=np.float64),
        }
        return {name: round(float(variance / sum(found.values())), 4) for name, variance in found.items()}

    @cached_property
    def item_hashes(self) -> Hashes:
        return id_hash(self.item_ids)

    @cached_property
    def _item_index(self) -> pd.Index:
        return pd.Index(self.item_ids)

    @cached_property
    def _user_index(self) -> pd.Index:
        return pd.Index(self.user_ids)

    @cached_property
    def _walk(self) -> TasteWalk:
        return TasteWalk(self.seed, len(self.user_ids), self.genres, SPEEDS[self.speed])

    @cached_property
    def durations(self) -> NDArray[np.int64]:
        """(N + 1,) seconds; the last row is the item that the world does not know."""
        return np.append(self.duration_s, NEUTRAL_DURATION_S)

    def item_rows(self, items: NDArray) -> NDArray[np.int64]:
        """Rows of item ids, any shape; N, the neutral item, for an id that the world does not know."""
        rows = self._item_index.get_indexer(np.asarray(items, dtype=object).ravel())
        return np.where(rows < 0, len(self.item_ids), rows).reshape(np.shape(items))

    def user_vectors_at(self, users: Sequence[str], hour: str) -> NDArray[np.float32]:
        """(U, D) with the drift of this hour; a user whom the world does not know is made from the hash of the id."""
        rows = self._user_index.get_indexer(list(users))
        strangers = np.flatnonzero(rows < 0)
        hashes = mix(self.seed, id_hash([users[int(i)] for i in strangers])) if len(strangers) else np.zeros(0, np.uint64)
        rows[strangers] = (hashes % np.uint64(len(self.user_ids))).astype(np.int64)
        vectors = self.user_vectors[rows]
        for i, word in zip(strangers, hashes, strict=True):
            vectors[i] += np.random.default_rng(int(word)).standard_normal(vectors.shape[1], np.float32) * self._stranger_sd
        vectors[:, : self.genres] += self._walk.at(self._hours(hour))[rows]
        return vectors

    @cached_property
    def _stranger_sd(self) -> NDArray[np.float32]:
        return STRANGER_NOISE * self.user_vectors.std(axis=0)

    def _hours(self, hour: str) -> int:
        return max(0, hour_number(hour) - hour_number(self.start_hour))

    def item_level(self, hour: str) -> NDArray[np.float64]:
        """(N,) quality and buzz."""
        return self.item_quality + buzz(self.seed, self.item_hashes, hour_number(hour), SPEEDS[self.speed])

    def affinity(self, users: Sequence[str], rows: NDArray[np.int64], hour: str) -> NDArray[np.float64]:
        """(U, K) logits at position 0 of item rows (U, K); row N is the neutral item."""
        items = np.vstack([self.item_vectors, np.zeros((1, self.item_vectors.shape[1]), np.float32)])
        level = np.append(self.item_level(hour), 0.0)
        liking = np.einsum("ud,ukd->uk", self.user_vectors_at(users, hour), items[rows])
        return self.intercept + liking + level[rows]

    def mood(self, affinity: NDArray) -> NDArray:
        return (affinity - self.intercept) / LOGIT_SD

    def expected_reward(self, users: Sequence[str], items: NDArray, hour: str, reward: Reward) -> NDArray[np.float64]:
        """(U,) expected reward of slates shown in full: item ids (U, K) in order of position, "" where a slate is shorter."""
        items = np.asarray(items, dtype=object)
        affinity = self.affinity(users, self.item_rows(items), hour)
        clicked = sigmoid(affinity + position_effect(np.arange(items.shape[1])))
        return (clicked * expected_given_click(self.mood(affinity), reward) * (items != "")).sum(axis=1)

    def reward_matrix(self, users: Sequence[str], hour: str, reward: Reward) -> NDArray[np.float32]:
        """(U, N) expected reward of each item at position 0."""
        vectors, level = self.user_vectors_at(users, hour), self.item_level(hour) + self.intercept
        rewards = np.empty((len(vectors), len(self.item_ids)), np.float32)
        for first in range(0, len(vectors), BLOCK):
            affinity = vectors[first : first + BLOCK] @ self.item_vectors.T + level.astype(np.float32)
            rewards[first : first + BLOCK] = sigmoid(affinity) * expected_given_click(self.mood(affinity), reward)
        return rewards

    def best_slates(
        self, users: Sequence[str], allowed: NDArray[np.bool_], hour: str, k: int, reward: Reward
    ) -> NDArray[np.int64]:
        """(U, k) rows of the allowed (U, N) items with the highest reward at position 0, first what would lose most lower down.

        The sure clicks of a user lose least there: best first would cost 1.4 % of the best assignment, this costs 0.03 %.
        Raises UserError where a user has fewer than k allowed items.
        """
        if (fewest := int(allowed.sum(axis=1).min(initial=k))) < k:
            raise UserError(f"a best slate needs {k} allowed items, found {fewest} for a user; lower slates.size")
        rewards = np.where(allowed, self.reward_matrix(users, hour, reward), -np.inf)
        top = np.argpartition(-rewards, k - 1, axis=1)[:, :k]
        affinity = self.affinity(users, top, hour)
        lost = sigmoid(affinity) - sigmoid(affinity + position_effect(np.array(k - 1)))
        order = np.argsort(-lost * expected_given_click(self.mood(affinity), reward), axis=1, kind="stable")
        return np.take_along_axis(top, order, axis=1)
