"""The candidates of a walk, hour by hour, as peers see them: kept, so that peers can be chosen and run without walking again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.ranker.peers.candidates import Candidates, Floats, Ints, Peer, counters, likeness
from models.metrics import auc_sums
from pipelines.evaluation.walk import ScoredHour
from spark_jobs.catalogue import Catalogue

Hour = tuple[Candidates, Floats, Ints]  # candidates, label (n,), row of the file of candidates (n,)


class PeerLog:
    """``hours``: in order; ``vectors`` (N+1, D): text of the items by their rows in it, row 0 is zeros."""

    def __init__(self, hours: Sequence[Hour], vectors: NDArray[np.float32]) -> None:
        self.hours, self.vectors = hours, vectors

    def until(self, hour: str) -> "PeerLog":
        """The hours before this one."""
        return PeerLog([one for one in self.hours if one[0].hour < hour], self.vectors)

    def save(self, path: Path) -> None:
        names = ("counters", "likeness", "group", "item", "user", "history")
        parts = {name: np.concatenate([getattr(hour[0], name) for hour in self.hours]) for name in names}
        np.savez(
            path, hour=[hour[0].hour for hour in self.hours], n=[len(hour[1]) for hour in self.hours],
            users=[len(hour[0].history) for hour in self.hours], label=np.concatenate([hour[1] for hour in self.hours]),
            rows=np.concatenate([hour[2] for hour in self.hours]), vectors=self.vectors, **parts,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "PeerLog":
        with np.load(path) as found:
            kept = dict(found)
        by_user = np.split(kept["history"], np.cumsum(kept["users"])[:-1])
        names = ("counters", "likeness", "group", "item", "user", "label", "rows")
        parts = {name: np.split(kept[name], np.cumsum(kept["n"])[:-1]) for name in names}
        hours = list[Hour]()
        for number, hour in enumerate(kept["hour"]):
            known = Candidates(str(hour), *(parts[name][number] for name in names[:5]), by_user[number])
            hours.append((known, parts["label"][number], parts["rows"][number]))
        return cls(hours, kept["vectors"])


class Recorder:
    """Keeps each hour of a walk: call it with the hours, in order. ``names``: the counters that peers see."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names, self._items, self._hours = names, _Items(), list[Hour]()

    def __call__(self, hour: ScoredHour) -> None:
        batch, catalogue = hour.view.inputs(hour.part, self._names), hour.view.catalogue
        own_row = self._items.rows(catalogue)
        first, user = np.unique(hour.part["user"].to_numpy(zero_copy_only=False), return_index=True, return_inverse=True)[1:]
        group = np.unique(hour.part["impression_id"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
        known = Candidates(
            hour.hour, counters(batch), likeness(batch, catalogue.table.vectors), group, own_row[batch.item.numpy()], user,
            own_row[batch.user.history.numpy()[first]],
        )  # fmt: skip
        self._hours.append((known, hour.part["label"].to_numpy(), hour.rows))

    def log(self) -> PeerLog:
        return PeerLog(self._hours, self._items.vectors())


class _Items:
    """Rows that stay the same while the catalogue grows; an item keeps the text by which it was met first."""

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._vectors: list[NDArray[np.float32]] = []
        self._last: tuple[Catalogue, Ints] | None = None

    def rows(self, catalogue: Catalogue) -> Ints:
        """(N+1,) own row of each of the catalogue's."""
        if self._last is None or self._last[0] is not catalogue:
            vectors = catalogue.table.vectors.numpy()
            for number, item in enumerate(catalogue.ids.to_pylist(), 1):
                if item not in self._row:
                    self._row[item] = len(self._row) + 1
                    self._vectors.append(vectors[number])
            self._last = catalogue, np.array([0, *(self._row[item] for item in catalogue.ids.to_pylist())])
        return self._last[1]

    def vectors(self) -> NDArray[np.float32]:
        return np.stack([np.zeros_like(self._vectors[0]), *self._vectors])


def told(peer: Peer, log: PeerLog, rows: int) -> Floats:
    """Logits (rows,) of the peer for every row of the candidates, each hour predicted before it is observed; nan where it could not."""
    logits = np.full(rows, np.nan)
    for candidates, label, at in log.hours:
        if (found := peer.predict(candidates)) is not None:
            logits[at] = found
        peer.observe(candidates, label)
    return logits


def auc_within_sets(log: PeerLog, logits: Floats, since: str) -> float:
    """Mean AUC within a candidate set from this hour on, of the rows that have a logit; nan without any."""
    values: list[Floats] = []
    for candidates, label, at in log.hours:
        if candidates.hour >= since and not np.isnan(logits[at]).any():
            total, count = auc_sums(label, logits[at], candidates.group)
            values.append(total[count > 0] / count[count > 0])
    found = np.concatenate(values) if values else np.zeros(0)
    return float(found.mean()) if len(found) else float("nan")


def texts(log: PeerLog) -> torch.Tensor:
    return torch.from_numpy(log.vectors)
