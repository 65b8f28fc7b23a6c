"""The report's part on objectives and drift: what holds, what is broken and since when, which hours were unlike those before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.drift import discoveries
from pipelines.lake.metrics import Metric
from pipelines.registry.alerts import Judged
from pipelines.registry.report_charts import SHOWN_HOURS, Chart, bars, lines
from pipelines.registry.report_data import ReportData

STRONGEST = 6
LARGE = 0.25  # an excess that the rule of thumb for the index calls a large change

Series = Mapping[str, Mapping[str, Metric]]


@dataclass(frozen=True)
class Standing:
    """An objective now; ``since``: the first hour of those in a row that it has been broken for, None where it holds."""

    judged: Judged
    since: str | None


@dataclass(frozen=True)
class Drifted:
    """What of the newest hour that was compared is drift: of how many subjects, beside which hours, and the figure of each."""

    hour: str
    beside: Sequence[str]
    compared: int
    found: Sequence[Metric]


@dataclass(frozen=True)
class Monitoring:
    standings: Sequence[Standing]
    drifted: Drifted | None
    charts: Sequence[Chart]


def read_monitoring(data: ReportData) -> Monitoring:
    """Broken objectives first."""
    standings = [Standing(judged, _since(data, judged)) for judged in data.objectives]
    return Monitoring(sorted(standings, key=lambda one: not one.judged.broken), _drifted(data), _charts(data))


def _since(data: ReportData, judged: Judged) -> str | None:
    """The newest hour stands for now where no hour was looked at since it broke."""
    if not judged.broken:
        return None
    states = data.named("objective_broken").get(judged.objective, {})
    since = data.hours[-1]
    for hour in sorted(states, reverse=True):
        if not states[hour].value:
            break
        since = hour
    return since


def _drifted(data: ReportData) -> Drifted | None:
    p_values, excess = data.named("drift_p_value"), data.named("drift_psi")
    hour = max((hour for points in p_values.values() for hour in points), default=None)
    if hour is None:
        return None
    subjects = [subject for subject, points in p_values.items() if hour in points and hour in excess.get(subject, {})]
    passing = discoveries(np.array([p_values[subject][hour].value for subject in subjects]))
    found = [excess[subject][hour] for subject, passes in zip(subjects, passing, strict=True) if passes]
    beside = sorted({excess[subject][hour].slice for subject in subjects})
    return Drifted(hour, beside, len(subjects), sorted(found, key=lambda metric: -metric.value))


def _charts(data: ReportData) -> list[Chart]:
    hours = data.hours[-SHOWN_HOURS:]
    broken, fallbacks = _broken(data), data.named("share_of_fallbacks").get("users", {})
    served = {"available items that are recommended": data.named("coverage").get("scores", {}), "users without a history": fallbacks,
              "Gini of the items' shares": data.named("exposure_gini").get("scores", {})}  # fmt: skip
    made = [
        bars("Broken objectives", f"How many were broken in each hour: {', '.join(broken)}.", broken, hours, "objectives"),
        lines("Drift", f"How an hour's users differ from those of the hours before, less what chance makes: the {STRONGEST} strongest. "
              f"Beyond the line ({LARGE}) a change is called large. Drift is shown and stops no release.",
              _strongest(data.named("drift_psi"), hours), hours, "index less its null mean", limit=LARGE),
        lines("What users did with their slates", "Observed: mean reward of a slate shown in the hour, with 95 % intervals.",
              {"observed": data.named("reward_a_slate").get("log", {})}, hours, "reward a slate"),
        lines("What is recommended", "Shares by hour. Gini: 0 where all items get the same, 1 where one gets everything.",
              served, hours, "share"),
    ]  # fmt: skip
    return [chart for chart in made if chart is not None]


def _broken(data: ReportData) -> dict[str, dict[str, float]]:
    """By objective where it ever was; nothing where every objective always held."""
    states = data.named("objective_broken")
    return {name: {hour: m.value for hour, m in points.items()} for name, points in states.items() if any(m.value for m in points.values())}


def _strongest(series: Series, hours: Sequence[str]) -> dict[str, Mapping[str, Metric]]:
    largest = {subject: max((points[hour].value for hour in hours if hour in points), default=0.0) for subject, points in series.items()}
    return {subject: series[subject] for subject in sorted(largest, key=lambda subject: -largest[subject])[:STRONGEST]}
