"""How the root stands: what each step has finished, what is in force and served, what was decided, what runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import pyarrow.compute as pc

from pipelines.clock import now
from pipelines.hours import end_of
from pipelines.lake import ledger
from pipelines.lake.holds import Kind, holds
from pipelines.lake.ledger import DONE
from pipelines.lake.tables import read_table, table_exists
from pipelines.local.summary import verdict
from pipelines.registry.releases import PRODUCTION, ReleaseRow, all_releases, challenger_before
from pipelines.settings import Settings

STEPS = ("ingest", "build_features", "score_users", "monitor_hour", "finetune_ranker", "refresh_policy", "promote_models")


@dataclass(frozen=True)
class StepStatus:
    """``newest_hour``: the newest hour that the step has finished; ``last``: its last attempt, of whatever hour."""

    step: str
    newest_hour: str | None
    last_hour: str | None
    last: str | None
    detail: str | None


@dataclass(frozen=True)
class ScoresStatus:
    """``staleness_h``: hours from the end of the hour that was scored last to now (the end of the loop hour in demos)."""

    rows: int
    users: int
    hour: str
    staleness_h: float


@dataclass(frozen=True)
class ReleaseStatus:
    release_id: str
    hour: str
    outcome: str
    versions: dict[str, str]
    reasons: Sequence[str]


@dataclass(frozen=True)
class ServiceStatus:
    name: str
    url: str
    alive: bool


@dataclass(frozen=True)
class Status:
    """``in_force``: the release that scores the next hour; ``decision``: the last one on production, whatever came of it.

    ``staging``: the challenger that some of the users are shown, None where there is none. ``held``: reasons by kind and hour.
    """

    home: str
    domain: str
    steps: Sequence[StepStatus]
    scores: ScoresStatus | None
    in_force: ReleaseStatus | None
    decision: ReleaseStatus | None
    staging: ReleaseStatus | None
    held: dict[str, dict[str, str]]
    services: Sequence[ServiceStatus]


def read_status(settings: Settings) -> Status:
    """By the tables alone, and the process list of the services."""
    from pipelines.local.services import running

    releases = all_releases(settings)
    decisions = [row for row in releases if row.on_production]
    services = [ServiceStatus(service.name, service.url, service.alive) for service in running(settings)]
    return Status(
        str(settings.home), settings.domain, [_step(settings, step) for step in STEPS], _scores(settings),
        _release(_last([row for row in decisions if row.stage == PRODUCTION])), _release(_last(decisions)),
        _release(challenger_before(settings)),
        {kind: found for kind in get_args(Kind) if (found := holds(settings, kind))}, services,
    )  # fmt: skip


def _step(settings: Settings, step: str) -> StepStatus:
    rows = ledger.rows(settings, step)
    if not rows:
        return StepStatus(step, None, None, None, None)
    newest = max((row.hour for row in rows if row.status in DONE), default=None)
    return StepStatus(step, newest, rows[-1].hour, rows[-1].status, rows[-1].detail)


def _scores(settings: Settings) -> ScoresStatus | None:
    if not table_exists(settings, "scores"):
        return None
    hour = read_table(settings, "scores", columns=["user_id", "hour"])
    if not len(hour):
        return None
    newest = pc.max(hour.column("hour")).as_py()
    featured = ledger.newest_hour(settings, "build_features") or newest
    late = (now(settings, featured) - end_of(newest)).total_seconds() / 3600
    return ScoresStatus(len(hour), pc.count_distinct(hour.column("user_id")).as_py(), newest, round(late, 2))


def _last(rows: Sequence[ReleaseRow]) -> ReleaseRow | None:
    return rows[-1] if rows else None


def _release(row: ReleaseRow | None) -> ReleaseStatus | None:
    return ReleaseStatus(row.release_id, row.hour, verdict(row), dict(row.versions), list(row.reasons)) if row else None
