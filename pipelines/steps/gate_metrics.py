"""Gate figures as rows of ``metrics``: written where they are measured, read where the decision is made."""

from collections.abc import Mapping, Sequence

from pipelines.lake.metrics import GATE_FOLD, Metric
from pipelines.registry.gates import Measured, slice_of, sliced


def gate_metrics(measured: Mapping[str, Measured], subject: str) -> list[Metric]:
    """Rows of ``metrics`` for these figures of a subject."""
    named = [(*slice_of(name), figure) for name, figure in measured.items()]
    return [Metric(f"gate_{name}", subject, m.value, m.low, m.high, m.n, rows or GATE_FOLD) for name, rows, m in named]


def measured_figures(figures: Sequence[Metric], *subjects: str) -> dict[str, Measured]:
    """The gate figures of these subjects, by the names that gates ask for."""
    return {
        _figure_name(metric): Measured(metric.value, metric.low, metric.high, metric.n)
        for metric in figures
        if metric.subject in subjects and metric.low is not None and metric.high is not None and metric.n is not None
    }


def _figure_name(metric: Metric) -> str:
    name = metric.name.removeprefix("gate_")
    return name if metric.slice in ("all", GATE_FOLD) else sliced(name, metric.slice)
