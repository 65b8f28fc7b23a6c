"""What the report tells, read from releases, metrics and ledger; no Spark, no MLflow."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pipelines.lake import ledger
from pipelines.lake.control import read_rows
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.metrics import Metric
from pipelines.registry.alerts import Judged
from pipelines.registry.objectives_now import objectives_now
from pipelines.registry.releases import ReleaseRow, all_releases
from pipelines.settings import Settings

STEPS = (
    "ingest", "build_examples", "build_features", "embed_items", "score_users", "finetune_ranker", "refresh_policy", "promote_models",
    "monitor_hour",
)  # fmt: skip


@dataclass(frozen=True)
class HourMetric:
    hour: str
    metric: Metric


@dataclass(frozen=True)
class StepTime:
    """How a step went: hours done, middle and longest attempt in seconds, middle seconds of each stage, its last attempt."""

    step: str
    hours: int
    median_s: float | None
    longest_s: float | None
    stages: Sequence[tuple[str, float]]
    last: LedgerRow


@dataclass(frozen=True)
class ReportData:
    """``events``: records taken by hour; ``seconds``: by step and hour; those of a pass over several hours are shared among them.

    ``objectives``: as they stand while the report is written.
    """

    releases: Sequence[ReleaseRow]
    metrics: Sequence[HourMetric]
    events: dict[str, int]
    seconds: dict[str, dict[str, float]]
    steps: Sequence[StepTime]
    failures: Sequence[LedgerRow]
    objectives: Sequence[Judged]

    @property
    def hours(self) -> list[str]:
        """Every hour that something is known of, oldest first."""
        return sorted({found.hour for found in self.metrics} | set(self.events) | {row.hour for row in self.releases})

    def named(self, name: str, of_slice: str | None = None) -> dict[str, dict[str, Metric]]:
        """The metric of each subject by hour."""
        found: dict[str, dict[str, Metric]] = defaultdict(dict)
        for row in self.metrics:
            if row.metric.name == name and of_slice in (None, row.metric.slice):
                found[row.metric.subject][row.hour] = row.metric
        return dict(found)

    def sliced(self, name: str, subject: str) -> dict[str, dict[str, Metric]]:
        """The subject's metric of each slice by hour; not that of all rows."""
        found: dict[str, dict[str, Metric]] = defaultdict(dict)
        for row in self.metrics:
            if (row.metric.name, row.metric.subject) == (name, subject) and row.metric.slice != "all":
                found[row.metric.slice][row.hour] = row.metric
        return dict(found)


def read_report(settings: Settings) -> ReportData:
    rows = ledger.rows(settings)
    done = [row for row in rows if row.status == "done"]
    metrics = [HourMetric(values.pop("hour"), Metric(**values)) for values in read_rows(settings, "metrics")]
    return ReportData(
        releases=all_releases(settings),
        metrics=sorted(metrics, key=lambda found: (found.hour, found.metric.name, found.metric.subject)),
        events=_events(done),
        seconds=_seconds(done),
        steps=[_step_time(step, rows) for step in _known_steps(rows)],
        failures=[row for row in rows if row.status == "failed"][::-1],
        objectives=objectives_now(settings),
    )


def _known_steps(rows: Sequence[LedgerRow]) -> list[str]:
    found = {row.step for row in rows}
    return [step for step in STEPS if step in found] + sorted(found - set(STEPS))


def _step_time(step: str, rows: Sequence[LedgerRow]) -> StepTime:
    own = [row for row in rows if row.step == step]
    done = [row for row in own if row.status == "done"]
    attempts = {row.started_at: row for row in done}.values()
    walls, stages = [_wall_s(row) for row in attempts], defaultdict(list)
    for row in attempts:
        for stage, seconds in row.seconds.items():
            stages[stage].append(seconds)
    middle = [(stage, median(seconds)) for stage, seconds in stages.items()]
    return StepTime(step, len({row.hour for row in done}), median(walls) if walls else None, max(walls, default=None), middle, own[-1])


def _events(done: Sequence[LedgerRow]) -> dict[str, int]:
    passes: dict[object, list[LedgerRow]] = defaultdict(list)
    for row in done:
        if row.step == "ingest":
            passes[row.started_at].append(row)
    return {row.hour: (row.rows_out or 0) // len(rows) for rows in passes.values() for row in rows}


def _seconds(done: Sequence[LedgerRow]) -> dict[str, dict[str, float]]:
    shared: dict[tuple[str, object], list[LedgerRow]] = defaultdict(list)
    for row in done:
        shared[row.step, row.started_at].append(row)
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for (step, _), rows in shared.items():
        for row in rows:
            found[step][row.hour] += _wall_s(row) / len(rows)
    return {step: dict(found[step]) for step in _known_steps(done)}


def _wall_s(row: LedgerRow) -> float:
    return (row.ended_at - row.started_at).total_seconds()
