"""Tables on the screen: the summary of the loop, recommendations, status."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.lake.metrics import Metric
from pipelines.local.recommend import Recommendation
from pipelines.local.reward_figures import ARMS, FROZEN_ALL, FROZEN_WEIGHTS, LOOP, MEANING, POPULARITY
from pipelines.local.status import ReleaseStatus, Status
from pipelines.local.summary import HourSummary, Summary, short_reason, verdict
from pipelines.local.timing import Timing
from pipelines.registry.releases import ReleaseRow

if TYPE_CHECKING:
    from pipelines.local.search import SearchResults

LESS = (FROZEN_WEIGHTS, FROZEN_ALL, POPULARITY)
_STYLES = {"promoted": "green", "rejected": "red", "abstained": "yellow"}


def print_summary(console: Console, summary: Summary) -> None:
    """By hour: what slates are worth and what was decided; then all live hours together."""
    if not summary.hours:
        console.print("No live hour has been evaluated yet: `recloop demo` plays some.")
        return
    hours = summary.hours
    console.print(_rewards(hours), _differences(hours), _decisions(hours), _totals(summary), sep="\n")


def print_recommendations(console: Console, user_id: str, rows: Sequence[Recommendation]) -> None:
    first = rows[0]
    title = f"Recommendations for {user_id}: slate of hour {first.hour}, release {first.release_id}"
    table = plain_table(title, "#", "title", "item", "score", "propensity", "from", "why")
    for row in rows:
        cells = (str(row.position + 1), row.title, row.item_id, f"{row.score:.3f}", f"{row.propensity:.3f}", row.source, row.reason)
        table.add_row(*map(Text, cells))
    console.print(table)


def print_results(console: Console, found: "SearchResults") -> None:
    asking = found.user_id or "nobody in particular"
    title = f"“{found.query}” for {asking}: as known at the end of {found.hour}, release {found.release_id}"
    table = plain_table(title, "#", "title", "item", "match", "expected reward")
    for place, row in enumerate(found.results, start=1):
        table.add_row(*map(Text, (str(place), row.title, row.item_id, f"{row.match:.3f}", f"{row.expected_reward:.3f}")))
    console.print(table)


def print_status(console: Console, status: Status) -> None:
    console.print(f"root {status.home}, domain {status.domain}", soft_wrap=True)
    steps = plain_table("Steps", "step", "newest hour", "last attempt", "detail")
    for step in status.steps:
        last = f"{step.last} {step.last_hour}" if step.last else "never ran"
        steps.add_row(step.step, step.newest_hour or "–", last, Text(step.detail or ""))
    console.print(steps)
    if scores := status.scores:
        console.print(f"scores: {scores.rows} rows of {scores.users} users, hour {scores.hour}, {scores.staleness_h:g} h old")
    released = {"in force": status.in_force, "last decision": status.decision} | ({"staging": status.staging} if status.staging else {})
    for label, release in released.items():
        console.print(f"{label}: {_release_line(release)}", soft_wrap=True, markup=False)
    for kind, hours in status.held.items():
        for hour, reason in hours.items():
            console.print(f"held: {kind} {hour}, {reason}", soft_wrap=True, markup=False)
    for service in status.services:
        console.print(f"{service.name}: {'running' if service.alive else 'not running'}  {service.url}", soft_wrap=True)


def print_timing(console: Console, timing: Timing) -> None:
    """Seconds by step and stage, of the newest hour and as medians."""
    about = f"{timing.seconds:.1f} s from its first step to its release decision; median of {timing.hours} hours {timing.median_s:.1f} s"
    console.print(f"hour {timing.hour}: {about}", soft_wrap=True, highlight=False)
    table, step = plain_table("Where the hour went (steps may run side by side)", "step", "stage", "s", "median s"), ""
    for time in timing.stages:
        table.add_row(time.step if time.step != step else "", time.stage, f"{time.newest_s:.1f}", f"{time.median_s:.1f}")
        step = time.step
    console.print(table)


def print_releases(console: Console, rows: Sequence[ReleaseRow]) -> None:
    """Two lines a decision or move: what it is, then why."""
    for row in rows:
        versions = ", ".join(f"{kind} v{row.versions[kind]}" for kind in ("encoder", "ranker", "policy"))
        stage = Text(f"{row.stage:<10}", _STYLES.get(verdict(row), ""))
        about = f"  {row.kind} of {row.lineage}, hour {row.hour}, since {row.since}; {versions}; by {row.decided_by}"
        console.print(Text(f"{row.release_id}  ").append(stage).append(about), soft_wrap=True)
        for reason in row.reasons:
            console.print(Text(f"         {reason}"), soft_wrap=True)


def _rewards(hours: Sequence[HourSummary]) -> Table:
    arms = [arm for arm in ARMS if arm in hours[-1].figures.rewards]
    names = [_name(arm).replace(" ", "\n") for arm in arms]
    table = plain_table("Expected reward a slate, by the hour that drew it", "hour", "events", *names)
    for hour in hours:
        table.add_row(hour.hour, f"{hour.events:,}", *[_number(hour.figures.rewards.get(arm)) for arm in arms])
    return table


def _differences(hours: Sequence[HourSummary]) -> Table:
    title = "What the loop is worth more than the others, with 95 % of resampled users"
    table = plain_table(title, "hour", *[f"{LOOP} − {_name(arm)}" for arm in LESS])
    for hour in hours:
        table.add_row(hour.hour, *[_difference(hour.figures.differences.get(arm)) for arm in LESS])
    return table


def _decisions(hours: Sequence[HourSummary]) -> Table:
    table = plain_table("Releases", "hour", "drawn by", "ranker", "policy", "decision", "why")
    for hour in hours:
        drawn_by = hour.in_force
        versions = [f"v{drawn_by.versions[kind]}" if drawn_by else "" for kind in ("ranker", "policy")]
        outcome = verdict(hour.decision)
        decided = f"{hour.decision.release_id} {outcome}" if hour.decision else outcome
        reason = Text(short_reason(hour.decision))
        table.add_row(hour.hour, drawn_by.release_id if drawn_by else "", *versions, Text(decided, _STYLES.get(outcome, "")), reason)
        if (beside := hour.challenger) is not None and beside is not hour.decision:
            versions = [f"v{beside.versions[kind]}" for kind in ("ranker", "policy")]
            table.add_row("", "", *versions, f"{beside.release_id} {beside.stage}", Text(short_reason(beside, width=140)))
    return table


def _totals(summary: Summary) -> Table:
    total, first, last = summary.total, summary.hours[0].hour, summary.hours[-1].hour
    slates = next((metric.n for metric in total.rewards.values()), 0) or 0
    share = f"; share of the best reached: {_share(total.share)}" if total.share else ""
    table = plain_table(f"All live hours {first} to {last}, {slates:,} slates{share}", "arm", "reward", "loop − arm [95 %]", "what it is")
    for arm, metric in total.rewards.items():
        table.add_row(_name(arm), _number(metric), _difference(total.differences.get(arm)), MEANING.get(arm, ""))
    return table


def plain_table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in columns:
        table.add_column(column, min_width=len("2026-11-23T20") if column == "hour" else None)
    return table


def _name(arm: str) -> str:
    return arm.replace("_", " ")


def _number(metric: Metric | None) -> str:
    return f"{metric.value:.3f}" if metric else ""


def _difference(metric: Metric | None) -> str:
    return f"{metric.value:+.3f} [{metric.low:.3f}, {metric.high:.3f}]" if metric else ""


def _share(metric: Metric) -> str:
    return f"{metric.value:.0%} ({metric.low:.0%} to {metric.high:.0%})"


def _release_line(release: ReleaseStatus | None) -> str:
    if release is None:
        return "none yet"
    versions = ", ".join(f"{kind} v{version}" for kind, version in release.versions.items())
    return f"{release.release_id} of hour {release.hour} ({versions}), {release.outcome}: {'; '.join(release.reasons)}"
