"""The picture of a policy refresh: what it is worth, how far it is from what was shown, and what it would show."""

from collections.abc import Iterable, Mapping
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from pipelines.lake.metrics import Metric
from pipelines.registry.figures import INK, SERIES, new_picture
from pipelines.registry.policy_figures import AGES_H, CANDIDATE, LOGGED, PRODUCTION, SHOWN_24H, PolicyRecord, Shares

_COLORS = {CANDIDATE: SERIES[0], PRODUCTION: SERIES[1], LOGGED: INK}


def policy_figure(record: PolicyRecord, by_hour: Mapping[str, Mapping[str, Metric]]) -> Picture:
    """``by_hour``: of each policy the value that the refresh of each of the last hours found."""
    picture, axes = new_picture(12.6, 7.2, 2, columns=3)
    _values(axes[0], record)
    _weights(axes[1], record)
    _entropies(axes[2], record)
    _shares(axes[3], record.by_age, AGES_H, "age of what is shown")
    _shares(axes[4], record.by_popularity, SHOWN_24H, "showings of it in the last 24 h")
    _curve(axes[5], by_hour)
    return picture


def _values(axis: Axes, record: PolicyRecord) -> None:
    for place, (name, one) in enumerate(record.values.items()):
        error = [[one.mean - one.low], [one.high - one.mean]]
        axis.errorbar([place], [one.mean], yerr=error, fmt="o", capsize=4, color=_COLORS[name])
    axis.set_xticks(range(len(record.values)), [f"{name}\nn = {one.effective_sample_size:,.0f}" for name, one in record.values.items()])
    axis.set(xlim=(-0.5, len(record.values) - 0.5), ylabel="reward a slate", title="Value, 95 % over users; n effective slates")


def _weights(axis: Axes, record: PolicyRecord) -> None:
    weights = np.clip(record.weights, 1e-4, None)
    edges = np.geomspace(min(weights.min(initial=1.0), 0.1), max(weights.max(initial=1.0), 10.0), 40).tolist()
    axis.hist(weights, bins=edges, color=SERIES[0])
    axis.axvline(1.0, color=INK, lw=1)
    axis.set(xscale="log", yscale="log", xlabel="importance weight of a whole slate", ylabel="slates")
    axis.set_title(f"Mean weight {record.weights.mean() if len(record.weights) else 0:.3f}, largest {record.weights.max(initial=0):.1f}")


def _entropies(axis: Axes, record: PolicyRecord) -> None:
    names = list(record.entropy)
    axis.bar(range(len(names)), list(record.entropy.values()), width=0.6, color=[_COLORS[name] for name in names])
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel="nats a slate", title=f"Entropy; churn {record.churn:.1%}")


def _shares(axis: Axes, by_policy: Mapping[str, Shares], bins: Iterable[str], title: str) -> None:
    names = list(bins)
    width = 0.8 / len(by_policy)
    for number, (name, shares) in enumerate(by_policy.items()):
        axis.bar(np.arange(len(names)) + (number - (len(by_policy) - 1) / 2) * width, shares, width, color=_COLORS[name], label=name)
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set(ylabel="share of positions", title=f"By the {title}")
    axis.legend(frameon=False, fontsize=8)


def _curve(axis: Axes, by_hour: Mapping[str, Mapping[str, Metric]]) -> None:
    hours = sorted({hour for points in by_hour.values() for hour in points})
    for color, (name, points) in zip(cycle(SERIES), sorted(by_hour.items()), strict=False):
        at = [hours.index(hour) for hour in sorted(points)]
        found = [points[hour] for hour in sorted(points)]
        middle, low, high = (np.array([getattr(one, end) for one in found], dtype=float) for end in ("value", "low", "high"))
        axis.plot(at, middle, "o-", ms=3, lw=1.4, color=_COLORS.get(name, color), label=name)
        axis.fill_between(at, low, high, color=_COLORS.get(name, color), alpha=0.12, lw=0)
    step = max(1, -(-len(hours) // 6))
    axis.set_xticks(range(0, len(hours), step), [f"{hour[5:10]}\n{hour[11:]}h" for hour in hours[::step]], fontsize=8)
    axis.set(ylabel="reward a slate", title="Value found in each hour")
    if hours:
        axis.legend(frameon=False, fontsize=8)
