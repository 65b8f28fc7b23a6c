"""What the loop did and what it was worth, hour by hour: read from ledger, releases and metrics alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from pipelines.lake import ledger
from pipelines.lake.control import read_rows
from pipelines.lake.metrics import Metric
from pipelines.local.reward_figures import DIFFERENCE, HOUR, LIVE, REWARD, SHARE
from pipelines.registry.releases import MAIN, PRODUCTION, ReleaseRow, all_releases
from pipelines.settings import Settings


@dataclass(frozen=True)
class Figures:
    """Rewards and differences (loop less arm) by arm, and the loop's share of the best."""

    rewards: Mapping[str, Metric]
    differences: Mapping[str, Metric]
    share: Metric | None


@dataclass(frozen=True)
class HourSummary:
    """One live hour: what landed, what its slates are worth, what drew them, what was decided at its end, of a challenger too."""

    hour: str
    events: int
    figures: Figures
    in_force: ReleaseRow | None
    decision: ReleaseRow | None
    challenger: ReleaseRow | None


@dataclass(frozen=True)
class Summary:
    """The evaluated hours, oldest first, and the figures of all live hours together."""

    hours: Sequence[HourSummary]
    total: Figures


def read_summary(settings: Settings) -> Summary:
    """Every hour that the evaluation has figures for."""
    rows = read_rows(settings, "metrics", where=pc.field("name").isin([REWARD, DIFFERENCE, SHARE]))
    hours = sorted({row["hour"] for row in rows})
    releases = all_releases(settings)
    events = {row.hour: row.rows_out or 0 for row in ledger.rows(settings, "ingest") if row.status == "done"}
    drawn_by = {row.hour: row.release_id for row in ledger.rows(settings, "score_users") if row.status == "done"}
    by_id = {release.release_id: release for release in releases}
    of_hours = [release for release in releases if release.decided_by == "promote_models"]
    decisions = {release.hour: release for release in of_hours if release.on_production}
    challengers = {release.hour: release for release in of_hours if release.lineage != MAIN}
    summaries = [
        HourSummary(
            hour, events.get(hour, 0), _figures(rows, hour, HOUR), by_id.get(drawn_by.get(hour) or ""), decisions.get(hour),
            challengers.get(hour),
        )
        for hour in hours
    ]
    return Summary(summaries, _figures(rows, hours[-1] if hours else "", LIVE))


def verdict(release: ReleaseRow | None) -> str:
    """promoted, rejected, abstained, or that there is no decision yet."""
    if release is None:
        return "none yet"
    return "promoted" if release.stage == PRODUCTION else release.stage


def short_reason(release: ReleaseRow | None, width: int = 90) -> str:
    """The first reason without its interval, and how many more there are."""
    reasons = list(release.reasons) if release else []
    if not reasons:
        return ""
    first, more = reasons[0].split(" (")[0], f" (+{len(reasons) - 1} more)" if len(reasons) > 1 else ""
    room = width - len(more)
    return (first if len(first) <= room else first[: room - 1] + "…") + more


def _figures(rows: Sequence[dict], hour: str, of_slice: str) -> Figures:
    own = [
        Metric(**{key: value for key, value in row.items() if key != "hour"})
        for row in rows
        if (row["hour"], row["slice"]) == (hour, of_slice)
    ]
    by_name = {name: {m.subject: m for m in own if m.name == name} for name in (REWARD, DIFFERENCE, SHARE)}
    return Figures(by_name[REWARD], by_name[DIFFERENCE], next(iter(by_name[SHARE].values()), None))
