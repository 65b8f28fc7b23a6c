"""What was known before an hour, and what rankers make of candidate sets with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from models.ranker import Ranker
from models.records import KnownUser, RankerBatch
from pipelines.evaluation.state_fold import StateFold
from pipelines.hours import parse_hour
from spark_jobs.catalogue import Catalogue, KnownItems, item_state
from spark_jobs.ranker_inputs import CROSS, cross_features, user_states

PAIRS_AT_ONCE = 65_536


@dataclass(frozen=True)
class View:
    """Catalogue, and states of users and items, as known before ``hour``; the folds must not have grown since."""

    hour: str
    catalogue: Catalogue
    users: StateFold
    items: StateFold

    def logits(self, rankers: Mapping[str, Ranker], part: pa.Table) -> dict[str, NDArray[np.float64]]:
        """By ranker (n, T) of its tasks at the topmost position for the columns ``user``, ``item`` and ``query`` of these rows."""
        found = {name: np.zeros((len(part), len(ranker.config.tasks))) for name, ranker in rankers.items()}
        items = {names: self.item_state(names) for names in {ranker.config.item_counters for ranker in rankers.values()}}
        for users, query, row, candidates in self._padded(part):
            known = {names: self.user_states(users, names) for names in {ranker.config.user_counters for ranker in rankers.values()}}
            any_items = next(iter(items.values()))  # likers are the same for rankers of any counters
            cross = {names: cross_features(state, self.catalogue, any_items, candidates, query) for names, state in known.items()}
            for name, ranker in rankers.items():
                seen, of_items = ranker.config.user_counters, items[ranker.config.item_counters]
                scored = ranker.score(known[seen], candidates, self.catalogue.table, of_items, cross[seen], query)
                found[name][row[row >= 0]] = scored.double().numpy()[row >= 0]
        return found

    def inputs(self, part: pa.Table, names: tuple[str, ...]) -> RankerBatch:
        """The ranker's inputs for these rows one by one, with their ``label`` as the only task: what another model can learn from."""
        users, of_user = np.unique(part["user"].to_numpy(zero_copy_only=False), return_inverse=True)
        state, items = self.user_states(users.tolist(), names), self.item_state(names)
        item, user, cross = self._item_rows(part), torch.from_numpy(of_user), torch.zeros(len(part), len(CROSS))
        query = torch.from_numpy(self.catalogue.query_rows(part["query"]))
        for ids, asked, row, candidates in self._padded(part):
            there = torch.from_numpy(row >= 0)
            own = state.rows(torch.from_numpy(np.searchsorted(users, ids)))
            cross[torch.from_numpy(row)[there]] = cross_features(own, self.catalogue, items, candidates, asked)[there]
        labels = torch.from_numpy(part["label"].to_numpy().astype(np.float32)).unsqueeze(1)
        top, weight = torch.zeros_like(item), torch.ones(len(part))
        return RankerBatch(state.rows(user), item, items.counters[item], items.age_h[item], cross, top, labels, weight, query)

    def known(self, part: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(n,) each: whether anything was known of the row's user, and of its item."""
        users, items = (
            np.array([key in fold for key in part[name].to_pylist()], dtype=bool)
            for name, fold in (("user", self.users), ("item", self.items))
        )
        return users, items

    def user_states(self, users: list[str], names: tuple[str, ...]) -> KnownUser:
        at = parse_hour(self.hour)
        return user_states(self.users.states(users, unknown_as_of=at), self.catalogue, at, names)

    def item_state(self, names: tuple[str, ...]) -> KnownItems:
        return item_state(self.catalogue, self.items.states(), parse_hour(self.hour), names)

    def _item_rows(self, part: pa.Table) -> torch.Tensor:
        return torch.from_numpy(self.catalogue.rows(part["item"].combine_chunks()))

    def _padded(self, part: pa.Table) -> Iterator[tuple[list[str], torch.Tensor, NDArray[np.int64], torch.Tensor]]:
        """Some users at a time, one for each thing that they searched for: ids, rows (U,) of the queries, the rows (U, C) of the part that
        are theirs (-1: none) and those rows' items (U, C).

        Users with many candidates come first, so that little is padded.
        """
        names, user = np.unique(part["user"].to_numpy(zero_copy_only=False), return_inverse=True)
        query = self.catalogue.query_rows(part["query"])
        width = len(self.catalogue.table)
        askers, of_user, counts = np.unique(user * width + query, return_inverse=True, return_counts=True)
        users, asked = names[askers // width], torch.from_numpy(askers % width)
        items, by_user = self._item_rows(part), np.argsort(of_user, kind="stable")
        starts, order, at = np.cumsum(counts) - counts, np.argsort(-counts, kind="stable"), 0
        while at < len(order):
            width = int(counts[order[at]])
            some = order[at : at + max(1, PAIRS_AT_ONCE // width)]
            column = np.arange(width)[None, :]
            place = np.minimum(starts[some][:, None] + column, len(by_user) - 1)
            row = np.where(column < counts[some][:, None], by_user[place], -1)
            yield users[some].tolist(), asked[torch.from_numpy(some)], row, items[torch.from_numpy(np.maximum(row, 0))]
            at += len(some)
