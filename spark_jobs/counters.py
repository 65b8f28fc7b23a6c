"""Decayed counters as matrices: chosen columns, decay to an instant, and smoothed rates."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_jobs.contracts import COUNTERS, HALF_LIVES_H

RATE_HALF_LIVES_H = (24, 168)
_PRIOR_SHOWINGS = 20.0
_PRIOR_RATE = {"click_rate": 0.1, "reward_rate": 0.1}
CLICK_RATE, CLICK_RATE_BASE = "click_rate_168h", _PRIOR_RATE["click_rate"]
_RATES = tuple(f"{name}_{h}h" for name in _PRIOR_RATE for h in RATE_HALF_LIVES_H)
_HALF_LIFE_H = np.tile(np.array(HALF_LIVES_H, dtype=float), len(COUNTERS) // len(HALF_LIVES_H))
_AT = {name: number for number, name in enumerate(COUNTERS)}


def counter_names(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """The counters and rates that a ranker of these tasks reads, in order."""
    counted = dict.fromkeys(("impressions", "clicks", *(f"{task}s" for task in tasks), "reward"))
    return (*(f"{name}_{h}h" for name in counted for h in HALF_LIVES_H), *_RATES)


def matrix(table: pa.Table | pa.RecordBatch) -> NDArray[np.float64]:
    """(rows, COUNTERS) of a table that has the counters as columns; a missing value is 0."""
    columns = [np.nan_to_num(np.asarray(table.column(name), dtype=float)) for name in COUNTERS]
    return np.stack(columns, axis=1) if len(table) else np.zeros((0, len(COUNTERS)))


def decayed(counters: NDArray[np.float64], as_of_us: NDArray[np.int64], at_us: int) -> NDArray[np.float64]:
    """Counters (rows, COUNTERS) at another instant: halved once a half-life."""
    age_h = np.maximum(at_us - as_of_us, 0)[:, None] / 3.6e9
    return np.asarray(counters * np.exp2(-age_h / _HALF_LIFE_H[None, :]))


def with_rates(counters: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float64]:
    """(rows, names): the chosen counters, and clicks and reward a showing, smoothed by a prior of 20 showings."""
    return np.stack([_rate(counters, name) if name in _RATES else counters[:, _AT[name]] for name in names], axis=1)


def _rate(counters: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    kind, half_life = name.rsplit("_", 1)
    amount = counters[:, _AT[f"{'clicks' if kind == 'click_rate' else 'reward'}_{half_life}"]]
    showings = counters[:, _AT[f"impressions_{half_life}"]]
    return np.asarray((amount + _PRIOR_SHOWINGS * _PRIOR_RATE[kind]) / (showings + _PRIOR_SHOWINGS))
