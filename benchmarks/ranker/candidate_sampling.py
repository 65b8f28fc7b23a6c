"""Candidate sets out of a log of purchases, which does not say what was shown: baskets against what else was being bought."""

import numpy as np
import pandas as pd

HOUR, WEEK = pd.Timedelta("1h"), pd.Timedelta("7D")
POSITIVES, NEGATIVES = 20, 50  # at most of a basket; of each positive
FLATTENING = 0.75  # of the purchase counts by which negatives are drawn


def sampled_sets(purchases: pd.DataFrame, since: pd.Timestamp, until: pd.Timestamp, share: float, seed: int) -> pd.DataFrame:
    """impression_id, user, item, ts, label of a share of the baskets from ``since`` to before ``until``.

    ``purchases``: basket, user, item, ts in UTC, oldest first, numbered from 0. Positives are a basket's items that somebody bought in the
    7 days before its hour; negatives are drawn from the purchases of those days, weight count^0.75, none of the basket.
    """
    rng = np.random.default_rng(seed)
    names, code = np.unique(purchases["item"].to_numpy(), return_inverse=True)
    hour, sets = purchases["ts"].dt.floor("h"), []
    for now, part in purchases[(purchases["ts"] >= since) & (purchases["ts"] < until)].groupby(hour):
        before = code[((hour < now) & (hour >= now - WEEK)).to_numpy()]
        counts = np.bincount(before, minlength=len(names))
        mass = np.cumsum(counts**FLATTENING)
        for basket, rows in part.groupby("basket"):
            if rng.random() >= share or not mass[-1]:
                continue
            bought = np.unique(code[rows.index])
            positive = rng.permutation(bought[counts[bought] > 0])[:POSITIVES]
            drawn = np.searchsorted(mass, rng.random(NEGATIVES * len(positive)) * mass[-1], side="right")
            negative = drawn[~np.isin(drawn, bought)]
            about = {"impression_id": str(basket), "user": rows["user"].iloc[0], "ts": rows["ts"].iloc[0]}
            for items, label in ((positive, 1.0), (negative, 0.0)):
                sets.append(pd.DataFrame({"item": names[items], "label": label} | about))
    return pd.concat(sets, ignore_index=True)
