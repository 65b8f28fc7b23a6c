"""What cannot draw is taken out before anything is published: no statistics are needed to see it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from pipelines.registry.client import RegistryDown
from pipelines.registry.releases import ReleaseRow, challenger_before, newest_production
from pipelines.settings import Settings
from pipelines.steps import moves
from spark_jobs.arms import CHALLENGER_ARM, PRODUCTION_ARM

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

log = structlog.get_logger()
BY = "score_users, hard stop"
EMPTY_SHARE, EMPTY = 0.05, 10  # of an arm's slates, and how many, that may be empty beyond production's share


@dataclass(frozen=True)
class Broken:
    """An arm that cannot draw, and how that shows."""

    arm: str
    why: str


def broken_by_error(error: Exception) -> Broken | None:
    """The arm that a worker named as it failed (``scoring.ArmError``); None for any other error."""
    found = re.search(r"arm (\w+): (\S+ cannot draw: [^\n]*)", str(error))
    return Broken(found[1], found[2][:300]) if found else None


def broken_by_draws(drawn: "DataFrame") -> Broken | None:
    """The first arm with slates whose numbers are none, or with far more empty slates than production draws; production itself last."""
    from pyspark.sql import functions as F

    wrong = F.exists("propensities", _no_chance) | F.exists("scores", lambda value: F.isnan(value) | value.isNull())
    by_arm = drawn.groupBy("arm").agg(
        F.count("*").alias("slates"), F.count_if(F.size("action") == 0).alias("empty"), F.count_if(wrong).alias("wrong")
    )
    return judged({row["arm"]: (row["slates"], row["empty"], row["wrong"]) for row in by_arm.collect()})


def judged(counts: dict[str, tuple[int, int, int]]) -> Broken | None:
    """``counts``: of each arm its slates, those that are empty, and those with a score or propensity that is no number."""
    slates, empty, _ = counts.get(PRODUCTION_ARM, (0, 0, 0))
    usual = empty / max(1, slates)
    for arm in sorted(counts, key=lambda name: (name == PRODUCTION_ARM, name)):
        slates, empty, wrong = counts[arm]
        if wrong:
            return Broken(arm, f"{wrong} of {slates} slates hold scores or propensities that are no numbers")
        if arm != PRODUCTION_ARM and empty > usual * slates + max(EMPTY_SHARE * slates, EMPTY):
            return Broken(arm, f"{empty} of {slates} slates are empty, of production's {usual:.1%}")
    return None


def replacement(settings: Settings, production: ReleaseRow) -> ReleaseRow:
    """What draws in place of a production that cannot: what was there before it. Raises UserError where nothing was."""
    newest = newest_production(settings)
    if newest is not None and newest.versions != production.versions:
        return newest
    return moves.roll_back_target(settings)[1]


def stop(settings: Settings, found: Sequence[tuple[Broken, ReleaseRow]]) -> None:
    """Rejects the challenger that cannot draw, and takes a production that cannot out; where MLflow is away its aliases follow later.

    What is out already stays as it is, so that a rerun of the hour moves nothing again.
    """
    for broken, row in found:
        try:
            if broken.arm == CHALLENGER_ARM and (now := challenger_before(settings)) is not None and now.lineage == row.lineage:
                moves.reject(settings, row.lineage, broken.why, BY)
            elif broken.arm == PRODUCTION_ARM and (newest := newest_production(settings)) is not None and newest.versions == row.versions:
                moves.published(settings, moves.roll_back(settings, broken.why, by=BY))
        except RegistryDown as away:
            log.warning("hard stop", release=row.release_id, aliases=f"follow with the next hour's decision, since {away}")


def _no_chance(value: "Column") -> "Column":
    from pyspark.sql import functions as F

    return value.isNull() | F.isnan(value) | (value <= 0) | (value > 1)
