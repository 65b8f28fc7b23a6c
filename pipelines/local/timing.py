"""Where an hour goes: the seconds of each step by stage, as the ledger has them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.lake import ledger
from pipelines.lake.ledger import DONE, LedgerRow
from pipelines.settings import Settings

HOURS = 24  # that the medians are of
LAST_STEP = "promote_models"  # of an hour; what comes beside it delays nobody
OUTSIDE, BEFORE = "outside its stages", "before it began"


@dataclass(frozen=True)
class StageTime:
    """Seconds of a stage in the newest hour, and their median over ``hours`` hours that had it."""

    step: str
    stage: str
    newest_s: float
    median_s: float
    hours: int


@dataclass(frozen=True)
class Timing:
    """``seconds``: from the first start of an hour's steps to the end of its release decision, in the newest hour and as a median."""

    hour: str
    seconds: float
    median_s: float
    hours: int
    stages: Sequence[StageTime]


def read_timing(settings: Settings) -> Timing | None:
    """Of the newest hours in which all steps up to the release decision ran, each by itself; None where there is none.

    Steps may run side by side: the seconds of all stages may be more than those of the hour.
    """
    by_hour: dict[str, list[LedgerRow]] = {}
    for row in ledger.rows(settings):
        by_hour.setdefault(row.hour, []).append(row)
    found = {hour: _chain(rows) for hour, rows in by_hour.items()}
    whole = sorted(hour for hour, chain in found.items() if chain and chain[-1].step == LAST_STEP)[-HOURS:]
    if not whole:
        return None
    stages = {hour: _stages(found[hour]) for hour in whole}
    spans = {hour: (found[hour][-1].ended_at - found[hour][0].started_at).total_seconds() for hour in whole}
    times = []
    for (step, stage), newest in stages[whole[-1]].items():
        those = [of_hour[step, stage] for of_hour in stages.values() if (step, stage) in of_hour]
        times.append(StageTime(step, stage, round(newest, 3), round(statistics.median(those), 3), len(those)))
    median = statistics.median(spans.values())
    return Timing(whole[-1], round(spans[whole[-1]], 3), round(median, 3), len(whole), times)


def _chain(rows: Sequence[LedgerRow]) -> list[LedgerRow]:
    """The first finished attempts of the hour's steps in the order in which they began, up to its decision."""
    first: dict[str, LedgerRow] = {}
    for row in rows:
        if row.status in DONE:
            first.setdefault(row.step, row)
    decision = first.get(LAST_STEP)
    chain = sorted(first.values(), key=lambda row: (row.started_at, row.ended_at))
    return [row for row in chain if decision is None or row.started_at <= decision.started_at]


def _stages(chain: Sequence[LedgerRow]) -> dict[tuple[str, str], float]:
    """By step and stage; with what a step spent outside its stages, and how long nothing ran before it began."""
    found, idle_since = dict[tuple[str, str], float](), chain[0].started_at
    for row in chain:
        if (idle := (row.started_at - idle_since).total_seconds()) > 0:
            found[row.step, BEFORE] = idle
        found |= {(row.step, stage): seconds for stage, seconds in row.seconds.items()}
        outside = (row.ended_at - row.started_at).total_seconds() - sum(row.seconds.values())
        found[row.step, OUTSIDE] = max(outside, 0.0)
        idle_since = max(idle_since, row.ended_at)
    return found
