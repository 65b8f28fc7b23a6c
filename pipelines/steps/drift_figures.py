"""What one hour's users were like beside those of hours that it is like: features as they were known, scores, labels.

One row a user and hour. An hour is compared with the same hour of the week in the last four weeks; where two of them are not there, with
the newest 24 hours of the last week, nights and days; where those are not there either, nothing is said. Hours that are held teach nothing
here either.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.drift import Drift, categorical_drift, discoveries, numeric_drift
from pipelines.hours import shift
from pipelines.lake.metrics import Metric

PSI, P_VALUE, FOUND = "drift_psi", "drift_p_value", "drift_found"
SAME_HOURS, LAST_HOURS = "same hours of the week", "last 24 hours"
WEEKS, LEAST_WEEKS = 4, 2
WEEK_H, LEAST_HOURS = 168, 24
LEAST_USERS = 50  # of fewer, an hour tells too little


@dataclass(frozen=True)
class Compared:
    """``reference``: which hours it was compared with."""

    subject: str
    reference: str
    drift: Drift


def drift_metrics(found: Sequence[Compared]) -> list[Metric]:
    """Excess and p-value a subject, and how many are found at a false-discovery rate of 5 %."""
    if not found:
        return []
    figures = [
        Metric(name, one.subject, value, n=one.drift.users, slice=one.reference)
        for one in found for name, value in ((PSI, one.drift.excess), (P_VALUE, one.drift.p_value))
    ]  # fmt: skip
    return [*figures, Metric(FOUND, "all", float(len(drifted(found))), n=len(found))]


def drifted(found: Sequence[Compared]) -> list[Compared]:
    """Those that no chance explains, the strongest first."""
    passing = discoveries(np.array([one.drift.p_value for one in found]))
    kept = [one for one, passes in zip(found, passing, strict=True) if passes]
    return sorted(kept, key=lambda one: -one.drift.excess)


def compared(hour: str, known: Collection[str], read: Callable[[str], pa.Table | None]) -> list[Compared]:
    """Every figure of the hour beside its reference. ``read``: user_id and figures, one row a user; None of an hour that tells nothing."""
    sample = read(hour)
    kind, hours, least = reference_hours(hour, known)
    if sample is None or len(sample) < LEAST_USERS or not hours:
        return []
    others = [table for other in hours if (table := read(other)) is not None]
    if len(others) < least:
        return []
    reference = pa.concat_tables(others)
    users = reference["user_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    found = []
    for name in (name for name in sample.column_names if name != "user_id"):
        compare = categorical_drift if pa.types.is_string(sample.schema.field(name).type) else numeric_drift
        here, there = (table[name].to_numpy() for table in (sample, reference))
        found.append(Compared(name, kind, compare(here, there, users)))
    return found


def reference_hours(hour: str, known: Collection[str]) -> tuple[str, list[str], int]:
    """Of the hours that are known: what they are to this one, which, and the fewest of them that say anything; none where too few are."""
    weeks = [other for week in range(1, WEEKS + 1) if (other := shift(hour, -WEEK_H * week)) in known]
    if len(weeks) >= LEAST_WEEKS:
        return SAME_HOURS, weeks, LEAST_WEEKS
    last = [other for other in sorted(known) if shift(hour, -WEEK_H) <= other < hour][-LEAST_HOURS:]
    return LAST_HOURS, last if len(last) >= LEAST_HOURS else [], LEAST_HOURS
