"""Candidate sets out of a log of purchases or ratings, which does not say what was shown: baskets against what else was being taken."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WEEK = np.timedelta64(7, "D")
FLATTENING = 0.75  # of the counts by which negatives are drawn

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sampler:
    """``share`` of the baskets; at most ``positives`` of each, and ``negatives`` draws a positive.

    ``unmet``: no negative that the user met before or in the same hour, for logs in which nobody takes an item twice: there a met item
    can be no positive, and would be told apart by that alone.
    """

    negatives: int
    positives: int = 20
    share: float = 1.0
    unmet: bool = False

    def sets(self, events: pd.DataFrame, since: pd.Timestamp, until: pd.Timestamp, seed: int) -> pd.DataFrame:
        """impression_id, user, item, ts, label of the baskets from ``since`` to before ``until``.

        ``events``: basket, user, item, ts in UTC, liked (whether it can be a positive), oldest first, numbered from 0; a basket lies within
        an hour. Positives are a basket's liked items that somebody took in the 7 days before its hour; negatives are drawn from the events
        of those days, weight count^0.75, none of the basket.
        """
        rng = np.random.default_rng(seed)
        names, code = np.unique(events["item"].to_numpy(), return_inverse=True)
        owner = np.unique(events["user"].to_numpy(), return_inverse=True)[1]
        hours, liked = events["ts"].dt.tz_convert(None).dt.floor("h"), events["liked"].to_numpy()
        hour_of, drawn = hours.to_numpy(), list[tuple[int, Ints, Ints]]()
        for hour, part in events[(events["ts"] >= since) & (events["ts"] < until)].groupby(hours):
            now = hour.to_datetime64()
            counts = np.bincount(code[(hour_of < now) & (hour_of >= now - WEEK)], minlength=len(names))
            if not counts.any():
                continue
            for rows in part.groupby("basket").groups.values():
                if rng.random() >= self.share:
                    continue
                own = np.unique(code[(owner == owner[rows[0]]) & (hour_of <= now)] if self.unmet else code[rows])
                positive, negative = self._drawn(np.unique(code[rows[liked[rows]]]), own, counts, rng)
                drawn.append((rows[0], positive, negative))
        first = np.repeat([row for row, *_ in drawn], [len(positive) + len(negative) for _, positive, negative in drawn])
        label = np.concatenate([np.repeat([1.0, 0.0], [len(positive), len(negative)]) for _, positive, negative in drawn])
        sets = events[["basket", "user", "ts"]].iloc[first].reset_index(drop=True).rename(columns={"basket": "impression_id"})
        return sets.assign(item=names[np.concatenate([code for _, *both in drawn for code in both])], label=label)

    def _drawn(self, liked: Ints, met: Ints, counts: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
        mass = np.cumsum(counts**FLATTENING)
        positive = rng.permutation(liked[counts[liked] > 0])[: self.positives]
        drawn = np.searchsorted(mass, rng.random(self.negatives * len(positive)) * mass[-1], side="right")
        return positive, drawn[~np.isin(drawn, met)]
