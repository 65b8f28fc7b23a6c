"""Which part of a log loads, which part peers warm up on and are chosen by, and which part is judged."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.evaluation.figures import Scored
from pipelines.hours import hour_range, parse_hour, shift


@dataclass(frozen=True)
class Split:
    """Hours: the first load ends with ``start``, candidates begin right after it, figures count from ``judged`` to the end of ``last``."""

    start: str
    judged: str
    last: str

    def __post_init__(self) -> None:
        if not self.start < shift(self.judged, -1) <= self.last:
            raise ValueError(f"expected start < judged <= last with hours to warm up between, found {self}")

    @property
    def since(self) -> pd.Timestamp:
        return pd.Timestamp(parse_hour(shift(self.start, 1)))

    @property
    def judged_from(self) -> pd.Timestamp:
        return pd.Timestamp(parse_hour(self.judged))

    @property
    def until(self) -> pd.Timestamp:
        """The first instant that counts no more."""
        return pd.Timestamp(parse_hour(shift(self.last, 1)))

    @property
    def chosen_from(self) -> str:
        """The first hour of the warm-up's second half: what a peer predicts from here to ``judged`` chooses its setting."""
        warm_up = hour_range(shift(self.start, 1), shift(self.judged, -1))
        return warm_up[len(warm_up) // 2]


def judged(scored: Scored, peers: dict[str, NDArray[np.float64]], split: Split) -> Scored:
    """All arms from ``split.judged`` on; one that scored nothing there is left out."""
    rows = pc.greater_equal(scored.table["ts"], split.judged_from.to_pydatetime())
    mask = rows.to_numpy(zero_copy_only=False)
    logits = {name: values[mask] for name, values in {**scored.logits, **peers}.items() if not np.isnan(values[mask]).all()}
    return Scored(scored.table.filter(rows), logits, scored.known_user[mask], scored.known_item[mask])
