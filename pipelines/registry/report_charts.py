"""The report's charts: figures by loop hour, as pictures that a page carries within itself."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from pipelines.lake.metrics import Metric
from pipelines.registry.figures import ABSTAIN, FAIL, INK, PASS, SERIES, gates_figure, new_picture
from pipelines.registry.gates import AUDIT_ERROR, load_gates
from pipelines.registry.noise_floor import noise_sentence
from pipelines.registry.releases import MAIN, ReleaseRow
from pipelines.registry.report_data import ReportData

SHOWN_HOURS = 168
_ARMS = {
    "loop": SERIES[0], "production": SERIES[0], "lineage": SERIES[3], "frozen": SERIES[1], "frozen_weights": SERIES[1],
    "frozen_all": SERIES[2], "popularity": SERIES[4], "random": ABSTAIN, "best": INK,
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """A picture with what it shows in words; ``source`` is a data address."""

    title: str
    caption: str
    source: str


def hourly_charts(data: ReportData) -> list[Chart]:
    """One chart for each thing that the tables know of."""
    hours = data.hours[-SHOWN_HOURS:]
    made = [
        lines("What a slate is worth", "Expected reward by the simulated truth, of the slates drawn in each hour, with 95 % intervals.",
              data.named("world_reward", "all"), hours, "reward a slate"),
        lines("What learning is worth", "The loop's reward less that of the first release: weights frozen, or counters too.",
              {arm: points for arm, points in data.named("world_difference", "all").items() if arm.startswith("frozen")}, hours,
              "loop less frozen", baseline=0.0),
        lines("What challengers are worth",
              "In staging: a user's hour less production's, as a share of it; intervals hold at every hour." + noise_sentence(data),
              data.named("staging_lift"), hours, "challenger over production", baseline=0.0),
        lines("What a winner is worth to those who kept what was before", "Production less what it displaced, as a share of that.",
              data.named("guard_lift"), hours, "production over predecessor", baseline=0.0),
        lines("What a release brought, beside what was promised", "A day after it began: its reward less its predecessor's, as a share.",
              {name: points for name, found in (("promised", "promised_lift"), ("realised", "realised_lift"))
               for points in data.named(found).values()}, hours, "release over predecessor", baseline=0.0),
        lines("AUC per user, test then train", "Each hour is predicted before it is learned. 0.5 is chance.",
              data.named("prequential_auc_per_user", "all"), hours, "AUC per user"),
        lines("AUC per user by slice, test then train", "Production on cold and warm users and items, on surfaces and by further tasks.",
              data.sliced("prequential_auc_per_user", "production"), hours, "AUC per user"),
        lines("Normalized entropy, test then train", "Log loss over that of the base rate: below 1 knows more, lower is better.",
              data.named("prequential_normalized_entropy", "all"), hours, "normalized entropy"),
        lines("Propensity audit: mean weight", "Should be 1: the bar is 3 standard errors. Red: the hour's policy figures are invalid.",
              data.named("propensity_mean_weight"), hours, "mean importance weight", reference=1.0),
        lines("Propensity audit: largest gap", "Logged against recomputed propensity; above the line the audit fails.",
              data.named("propensity_max_error"), hours, "largest gap", limit=AUDIT_ERROR, log=True),
        lines("What a session is worth", "Observed: rewards of a user's slates in a row, discounted slate by slate, with 95 % intervals.",
              data.named("session_return"), hours, "discounted reward a session"),
        bars("Events", "Records taken by each hour; those of a pass over several hours are shared among them.",
             {"events": {h: float(n) for h, n in data.events.items()}}, hours, "events"),
        bars("Seconds by step", "Wall seconds of each hour's steps; a pass over several hours is shared among them.",
             data.seconds, hours, "seconds"),
    ]  # fmt: skip
    return [chart for chart in made if chart is not None]


def gates_chart(release: ReleaseRow) -> Chart:
    """The gates of one decision."""
    gates = load_gates("refresh" if release.lineage == MAIN else "staging") if release.gates else []
    title = f"Gates of {release.release_id}, hour {release.hour}"
    return Chart(title, "Green passed, red failed, grey lacks evidence.", _address(gates_figure(release.gates, gates)))


def lines(
    title: str, caption: str, series: Mapping[str, Mapping[str, Metric]], hours: Sequence[str], unit: str,
    reference: float | None = None, limit: float | None = None, baseline: float | None = None, log: bool = False,
) -> Chart | None:  # fmt: skip
    """A line a series with its intervals; None where no hour has any. Beyond ``limit`` is too much, ``reference`` is what should be."""
    hours = [hour for hour in hours if any(hour in points for points in series.values())]
    if not hours:
        return None
    picture, (axis,) = new_picture(6.6, 3.3, 1)
    for color, (subject, points) in zip(cycle(SERIES), series.items(), strict=False):
        _line(axis, points, hours, _ARMS.get(subject, color), subject.replace("_", " "), reference)
    for level, color in ((limit, FAIL), (reference, INK), (baseline, INK)):
        if level is not None:
            axis.axhline(level, color=color, lw=1)
    if limit is not None and log:
        axis.set_yscale("symlog", linthresh=limit / 100)  # a gap of exactly 0 is the rule
    if len(series) > 1:
        axis.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.22))
    axis.set_ylabel(unit)
    _hour_axis(axis, hours)
    return Chart(title, caption, _address(picture))


def _line(axis: Axes, points: Mapping[str, Metric], hours: Sequence[str], color: str, name: str, reference: float | None) -> None:
    known = [(place, points[hour]) for place, hour in enumerate(hours) if hour in points]
    at, value = np.array([place for place, _ in known]), np.array([metric.value for _, metric in known])
    low, high = (np.array([getattr(m, end) if getattr(m, end) is not None else m.value for _, m in known]) for end in ("low", "high"))
    if reference is not None:
        holds = (low <= reference) & (reference <= high)
        for part, own in ((holds, PASS), (~holds, FAIL)):
            axis.errorbar(at[part], value[part], yerr=[(value - low)[part], (high - value)[part]], fmt="o", ms=4, capsize=2, color=own)
        return
    axis.plot(at, value, "o-", ms=3, lw=1.5, color=color, label=name)
    axis.fill_between(at, low, high, color=color, alpha=0.15, lw=0)


def bars(title: str, caption: str, series: Mapping[str, Mapping[str, float]], hours: Sequence[str], unit: str) -> Chart | None:
    """Bars on top of each other, a color a series; None where no hour has any."""
    hours = [hour for hour in hours if any(hour in points for points in series.values())]
    if not hours:
        return None
    picture, (axis,) = new_picture(6.6, 3.3, 1)
    base = np.zeros(len(hours))
    for color, (name, points) in zip(cycle(SERIES), series.items(), strict=False):
        height = np.array([points.get(hour, 0.0) for hour in hours])
        axis.bar(np.arange(len(hours)), height, bottom=base, width=0.8, color=color, label=name.replace("_", " "))
        base += height
    if len(series) > 1:
        axis.legend(frameon=False, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.28))
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.set_ylabel(unit)
    _hour_axis(axis, hours)
    return Chart(title, caption, _address(picture))


def _hour_axis(axis: Axes, hours: Sequence[str]) -> None:
    """At most eight labels, the last hour among them."""
    step = max(1, -(-len(hours) // 8))
    places = list(range(len(hours) - 1, -1, -step))
    axis.set_xticks(places, [f"{hours[place][5:10]}\n{hours[place][11:]}h" for place in places], fontsize=8)
    axis.grid(axis="y", alpha=0.25)
    axis.set_axisbelow(True)


def _address(picture: Picture) -> str:
    content = io.BytesIO()
    picture.savefig(content, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(content.getvalue()).decode()
