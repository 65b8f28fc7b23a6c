"""Pictures of a fine-tune: AUC by hour, where the candidate gains and loses, and how far each layer moved."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from pipelines.lake.metrics import Metric
from pipelines.registry.figures import ABSTAIN, FAIL, INK, PASS, SERIES, new_picture

_ARMS = {"production": SERIES[0], "lineage": SERIES[3], "frozen": SERIES[1]}


def auc_figure(by_hour: Mapping[str, Mapping[str, Metric]]) -> Picture:
    """AUC per user, test then train, of each arm by hour, with 95 % intervals over users; below, what the frozen first release lacks."""
    picture, (levels, gains) = new_picture(8.4, 6.4, 2, sharex=True, height_ratios=(2, 1))
    hours = sorted({hour for points in by_hour.values() for hour in points})
    for color, (arm, points) in zip(cycle(SERIES), sorted(by_hour.items()), strict=False):
        own = _ARMS.get(arm, color)
        at, value, low, high = _points(points, hours)
        levels.plot(at, value, "o-", ms=3, lw=1.5, color=own, label=arm)
        levels.fill_between(at, low, high, color=own, alpha=0.15, lw=0)
        frozen = by_hour.get("frozen", {})
        known = [hour for hour in sorted(points) if hour in frozen and arm != "frozen"]
        if known:
            less = [points[hour].value - frozen[hour].value for hour in known]
            gains.plot([hours.index(hour) for hour in known], less, "o-", ms=3, lw=1.5, color=own, label=f"{arm} less frozen")
    gains.axhline(0, color=INK, lw=1)
    levels.set(ylabel="AUC per user", title="Each hour predicted before it is learned; 95 % over users")
    gains.set(ylabel="over the first release")
    for axis in (levels, gains):
        axis.grid(alpha=0.25)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False, fontsize=9, ncols=3)
    _hour_labels(gains, hours)
    return picture


def slices_figure(slices: Sequence[Metric], thin: Mapping[str, tuple[int, int]]) -> Picture:
    """AUC per user of the candidate less production's on each slice, with the gates' intervals; grey where ``thin`` names too few rows."""
    picture, (axis,) = new_picture(8.4, 1.2 + 0.42 * max(1, len(slices)), 1)
    for place, found in enumerate(slices):
        low, high = (end if end is not None else found.value for end in (found.low, found.high))
        color = ABSTAIN if found.slice in thin else PASS if low > 0 else FAIL if high < 0 else SERIES[0]
        axis.errorbar([found.value], [place], xerr=[[found.value - low], [high - found.value]], fmt="o", ms=5, capsize=3, color=color)
    axis.axvline(0, color=INK, lw=1)
    axis.set_yticks(range(len(slices)), [_slice_label(found, thin) for found in slices], fontsize=9)
    axis.set_ylim(len(slices) - 0.5, -0.5)
    axis.set_xlabel("AUC per user, candidate less production")
    axis.set_title("On the gate fold, by slice: green gains, red loses, grey has too few rows", fontsize=11)
    axis.grid(axis="x", alpha=0.25)
    return picture


def steps_figure(served: Mapping[str, float], whole: Mapping[str, float]) -> Picture:
    """Step norm of each layer as a share of production's: of what is served, and of all that was learned since, where that is more."""
    layers, series = list(served), {"what the candidate serves": served}
    if whole != served:
        series["all that was learned"] = whole
    picture, (axis,) = new_picture(8.4, 1.4 + 0.36 * len(layers), 1)
    for number, (name, steps) in enumerate(series.items()):
        at = np.arange(len(layers)) + (0.4 * number - 0.2 if len(series) > 1 else 0.0)
        lengths = [steps[layer] if math.isfinite(steps[layer]) else 0.0 for layer in layers]
        bars = axis.barh(at, lengths, 0.38, color=SERIES[number], label=name)
        said = [f"{steps[layer]:.1%}" if math.isfinite(steps[layer]) else "from zero" for layer in layers]
        axis.bar_label(bars, said, padding=4, fontsize=8, color=INK)
    axis.set_yticks(range(len(layers)), layers, fontsize=9)
    axis.set_ylim(len(layers) - 0.5, -0.5)
    axis.margins(x=0.1)
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axis.set_xlabel("norm of the change / norm of production's weights")
    axis.legend(frameon=False, fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    picture.suptitle("How far each layer moved from production", fontsize=11)
    return picture


def _slice_label(found: Metric, thin: Mapping[str, tuple[int, int]]) -> str:
    rows, positives = thin.get(found.slice, (found.n or 0, None))
    return f"{found.slice}   n = {rows:,}" + (f", {positives:,} positive" if positives is not None else "")


def _points(points: Mapping[str, Metric], hours: Sequence[str]) -> tuple[list[int], list[float], list[float], list[float]]:
    known = [(hours.index(hour), points[hour]) for hour in sorted(points)]
    ends = [[found.value if end is None else end for _, found in known for end in (getattr(found, name),)] for name in ("low", "high")]
    return [place for place, _ in known], [found.value for _, found in known], *ends  # type: ignore[return-value]


def _hour_labels(axis: Axes, hours: Sequence[str]) -> None:
    """At most eight, the last hour among them."""
    places = list(range(len(hours) - 1, -1, -max(1, -(-len(hours) // 8))))
    axis.set_xticks(places, [f"{hours[place][5:10]}\n{hours[place][11:]}h" for place in places], fontsize=8)
