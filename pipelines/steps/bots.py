"""Whose hours no person makes: they are counted and stay in the tables, but teach and judge nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

LEAST = 50  # impressions of a user in an hour: up to here nobody is suspected
CLICKED = 0.8  # share of an hour's impressions that nobody clicks
QUANTILE = 0.999  # of the impressions of all user-hours


def without_bots(examples: pa.Table, task: str) -> pa.Table:
    """``training_examples`` of whole hours, less impressions of user-hours that no person makes. What was sampled is no impression."""
    return examples.filter(pa.array(~bot_rows(examples, task))) if len(examples) > LEAST else examples


def bot_rows(examples: pa.Table, task: str) -> NDArray[np.bool_]:
    """(n,) of examples of whole hours; needs user_id, ts, labels and negative_source."""
    found, shown = np.zeros(len(examples), dtype=bool), pc.is_null(examples["negative_source"]).to_numpy()
    rows = examples.filter(pa.array(shown)).combine_chunks()
    clicked = pc.fill_null(pc.struct_field(rows["labels"], task), 0.0).to_numpy() >= 0.5
    found[shown] = of_bots(rows["user_id"].combine_chunks(), rows["ts"].combine_chunks(), clicked)
    return found


def of_bots(user_ids: pa.Array, ts: pa.Array, clicked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) impressions of user-hours with more than LEAST of them, of which more than CLICKED were clicked or which are beyond QUANTILE."""
    user = user_ids.dictionary_encode().indices.to_numpy().astype(np.int64)
    hours, hour = np.unique(pc.floor_temporal(ts, unit="hour").cast(pa.int64()).to_numpy(), return_inverse=True)
    _, group, count = np.unique(user * max(1, len(hours)) + hour, return_inverse=True, return_counts=True)
    if not len(count) or count.max() <= LEAST:
        return np.zeros(len(user), dtype=bool)
    share = np.bincount(group, weights=clicked, minlength=len(count)) / count
    many = count > np.quantile(count, QUANTILE, method="higher")
    return np.asarray(((count > LEAST) & ((share > CLICKED) | many))[group])
