"""Pictures that a data scientist looks at first: arrays in, figure out, no state of pyplot."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from numpy.typing import NDArray

from models.metrics import expected_calibration_error
from pipelines.registry.gates import Figure, Gate, gate_named

Floats = NDArray[np.floating[Any]]

PASS, FAIL, ABSTAIN, INK = "#1a7f4b", "#c0392b", "#8a8f98", "#222831"
OUTCOMES = {"pass": PASS, "fail": FAIL, "abstain": ABSTAIN}
SERIES = ("#1f5fa8", "#d9822b", "#6c4ab6", "#2a9d8f", "#b83b5e", "#8a8f98", "#c9b037", "#7fb3e6", "#5b3a1e")
_SPINES = ("top", "right")


def calibration_figure(labels: Floats, probabilities_by_model: Mapping[str, Floats], bins: int = 20) -> Picture:
    """Observed rate against predicted probability in bins of equal size, each with its 95 % interval; below, where predictions lie."""
    picture, (curve, counts) = new_picture(6.4, 6.6, 2, height_ratios=(3, 1), sharex=True)
    highest = 0.0
    for color, (name, probabilities) in zip(cycle(SERIES), probabilities_by_model.items(), strict=False):
        predicted, rate, error, size = _bins(labels, probabilities, bins)
        ece = expected_calibration_error(labels, probabilities, bins, debiased=True)
        curve.errorbar(predicted, rate, yerr=error, fmt="o-", ms=4, lw=1.2, capsize=2, color=color, label=f"{name}: debiased ECE {ece:.4f}")
        counts.hist(probabilities, bins=40, histtype="step", color=color, lw=1.4)
        highest = max(highest, float(predicted.max()), float((rate + error).max()))
    limit = min(1.0, 1.05 * highest)
    curve.plot([0, 1], [0, 1], ls="--", lw=1, color=INK, label="calibrated")
    curve.set(xlim=(0, limit), ylim=(0, limit), ylabel="observed rate", title=f"Calibration on {len(labels):,} rows, {size.min():,}+ a bin")
    curve.legend(frameon=False, loc="upper left", fontsize=9)
    counts.set(yscale="log", xlabel="predicted probability", ylabel="rows")
    return picture


def gates_figure(figures: Sequence[Figure], gates: Sequence[Gate] = ()) -> Picture:
    """One row a gate: value and interval against the bound, colored by outcome; with ``gates`` the allowed side is shaded."""
    picture, axes = new_picture(9.6, 0.9 + 0.62 * max(1, len(figures)), max(1, len(figures)))
    for axis, figure in zip(axes, figures, strict=False):
        _gate_row(axis, figure, gate_named(figure.gate, gates))
    if not figures:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "no gate was asked: there was nothing to compare with", ha="center", va="center", color=ABSTAIN)
    allowed = ", allowed range shaded" if gates else ""
    picture.suptitle(f"Candidate against production: value, interval, bound as a line{allowed}", fontsize=11, color=INK)
    return picture


def training_figure(losses: Sequence[float], gradient_norms: Sequence[float], smooth: int = 20) -> Picture:
    """Loss and gradient norm by step, with a running mean; what is not finite is marked."""
    picture, axes = new_picture(7.6, 5.2, 2, sharex=True)
    for axis, values, name in zip(axes, (losses, gradient_norms), ("loss", "gradient norm"), strict=True):
        array = np.asarray(values, dtype=np.float64)
        steps, finite = np.arange(1, len(array) + 1), np.isfinite(array)
        marker = "o" if len(array) <= smooth else None
        axis.plot(steps[finite], array[finite], marker=marker, ms=3, lw=0.8, alpha=0.45, color=SERIES[0], label="each step")
        if finite.sum() > smooth:
            middle = steps[finite][smooth - 1 :] - (smooth - 1) / 2
            axis.plot(middle, _running_mean(array[finite], smooth), lw=1.8, color=SERIES[0], label=f"mean of {smooth}")
        for step in steps[~finite]:
            axis.axvline(step, color=FAIL, lw=1)
        axis.set_ylabel(name)
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False, fontsize=9)
    axes[0].set_title(f"{len(losses):,} steps" + (f", loss {losses[0]:.4f} to {losses[-1]:.4f}" if len(losses) else ""))
    axes[1].set_xlabel("step")
    axes[1].xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    return picture


def propensity_figure(position: NDArray[np.integer[Any]], logged: Floats, recomputed: Floats, weight: Floats) -> Picture:
    """The audit: logged against recomputed propensities, and by position the mean importance weight, which should be 1 (± 3 se)."""
    picture, (parity, means) = new_picture(10.4, 4.6, 1, columns=2)
    shown = np.linspace(0, len(logged) - 1, min(len(logged), 5000)).astype(int)
    low = max(min(float(logged.min()), float(recomputed.min())), 1e-12)
    parity.plot([low, 1], [low, 1], lw=1, color=INK, zorder=1)
    parity.scatter(logged[shown], recomputed[shown], s=6, alpha=0.35, color=SERIES[0], zorder=2)
    gap = float(np.abs(logged - recomputed).max())
    parity.set(xscale="log", yscale="log", xlabel="logged propensity", ylabel="recomputed from the kept draw")
    parity.set_title(f"largest gap {gap:.1e} over {len(logged):,} positions", color=PASS if gap <= 1e-6 else FAIL)
    _mean_weights(means, np.asarray(position), np.asarray(weight, dtype=np.float64))
    return picture


def new_picture(width: float, height: float, rows: int, columns: int = 1, **grid: Any) -> tuple[Picture, Any]:
    """An empty picture in inches and its axes, row by row."""
    picture = Picture(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots(rows, columns, squeeze=False, **grid).ravel()
    for axis in axes:
        axis.spines[list(_SPINES)].set_visible(False)
    return picture, axes


def _bins(labels: Floats, probabilities: Floats, bins: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    """Mean prediction, observed rate, half width of its 95 % interval, and rows of each bin."""
    parts = [part for part in np.array_split(np.argsort(probabilities, kind="stable"), bins) if len(part)]
    size = np.array([len(part) for part in parts])
    rate = np.array([labels[part].mean() for part in parts])
    error = 1.96 * np.sqrt(rate * (1 - rate) / size)
    return np.array([probabilities[part].mean() for part in parts]), rate, error, size


def _gate_row(axis: Axes, figure: Figure, gate: Gate | None) -> None:
    color = OUTCOMES[figure.outcome]
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.text(-0.02, 0.5, figure.gate, transform=axis.transAxes, ha="right", va="center", fontsize=9, color=INK)
    axis.text(1.02, 0.5, _gate_text(figure, gate), transform=axis.transAxes, ha="left", va="center", fontsize=9, color=color)
    ends = [end for end in (figure.value, figure.low, figure.high) if end is not None and np.isfinite(end)]
    if len(ends) < 3:
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        return
    edges = [*ends, figure.bound] + ([gate.upper] if gate and gate.upper is not None else [])
    margin = 0.12 * (max(edges) - min(edges)) or 0.1
    axis.set_xlim(min(edges) - margin, max(edges) + margin)
    axis.axvline(figure.bound, color=INK, lw=1.4)
    _shade(axis, gate)
    axis.plot(ends[1:], [0, 0], color=color, lw=3, solid_capstyle="round")
    axis.plot(ends[:1], [0], "o", ms=7, color=color, mec="white")


def _gate_text(figure: Figure, gate: Gate | None) -> str:
    if figure.value is None:
        return f"{figure.outcome}: not measured"
    interval = "" if figure.low == figure.high else f" [{figure.low:.4f}, {figure.high:.4f}]"
    needed = f" of {gate.least_n:,} needed" if gate and figure.n < gate.least_n else ""
    return f"{figure.outcome}: {figure.value:.4f}{interval}  n={figure.n:,}{needed}"


def _shade(axis: Axes, gate: Gate | None) -> None:
    if gate is None:
        return
    left, right = axis.get_xlim()
    upper = gate.upper if gate.upper is not None else right
    below = gate.side in ("high", "reach_below")
    axis.axvspan(*((left, gate.bound) if below else (gate.bound, upper)), color=PASS, alpha=0.08, lw=0)
    if gate.upper is not None:
        axis.axvline(gate.upper, color=INK, lw=1.4)


def _mean_weights(axis: Axes, position: NDArray[np.integer[Any]], weight: NDArray[np.float64]) -> None:
    places = np.unique(position)
    groups = [weight[position == place] for place in places]
    mean = np.array([group.mean() for group in groups])
    error = np.array([3 * group.std(ddof=1) / np.sqrt(len(group)) if len(group) > 1 else 0.0 for group in groups])
    for place, value, half in zip(places, mean, error, strict=True):
        axis.errorbar(place, value, yerr=half, fmt="o", ms=5, capsize=3, color=PASS if abs(value - 1) <= half else FAIL)
    axis.axhline(1.0, color=INK, lw=1)
    axis.set(xlabel="position (0-based)", ylabel="mean importance weight ± 3 se", title="mean weight by position (1 = as drawn)")
    axis.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return np.convolve(values, np.full(width, 1 / width), mode="valid")
