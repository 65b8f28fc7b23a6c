"""How long reactions of a task take to arrive: rows younger than that are not held against a ranker, nor for it."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.lake.held import HeldHours

SHARE, LEAST = 0.9, 200  # of a task's reactions that must have arrived; reactions from which that is told


def maturity_h(examples: HeldHours, hours: Sequence[str], tasks: Sequence[str]) -> dict[str, int]:
    """Of each task the hours after a showing by which SHARE of its reactions are known, by those that arrived in these hours.

    0: within the hour of the showing. A task of which fewer than LEAST arrived is left out.
    """
    table = examples.read(hours, None, ["revision", "labels", "previous_labels", "ts", "hour"])
    arrived = pc.strptime(table["hour"], format="%Y-%m-%dT%H", unit="us")
    shown = pc.floor_temporal(table["ts"], unit="hour").cast(arrived.type)
    delay_h = (arrived.cast("int64").to_numpy() - shown.cast("int64").to_numpy()) / 3.6e9
    found = {}
    for task in tasks:
        now, before = (_of(table[name], task) for name in ("labels", "previous_labels"))
        delays = delay_h[(now >= 0.5) & ~(before >= 0.5)]
        if len(delays) >= LEAST:
            found[task] = max(0, math.ceil(float(np.quantile(delays, SHARE, method="inverted_cdf"))))
    return found


def _of(labels: pa.ChunkedArray, task: str) -> NDArray[np.float64]:
    return np.asarray(pc.fill_null(pc.struct_field(labels, task), 0.0).to_numpy())
