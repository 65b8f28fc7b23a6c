"""The ``metrics`` table: one row a figure, hour, subject and slice, replaced by name when its step runs again."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from pipelines.hours import shift
from pipelines.lake.control import read_rows, replace_rows
from pipelines.settings import Settings

GATE_FOLD = "gate fold"  # the slice that the gates' figures are of


@dataclass(frozen=True)
class Metric:
    """A figure with its interval where it has one; ``n`` counts what it rests on (rows, slates, effective slates)."""

    name: str
    subject: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    slice: str = "all"
    model_version: str | None = None


def write_metrics(settings: Settings, hour: str, metrics: Sequence[Metric], also_without: Iterable[str] = ()) -> None:
    """Replaces the hour's rows of these names, in one commit; of names in ``also_without`` even where there is no figure now."""
    replaced = {metric.name for metric in metrics} | set(also_without)
    if not replaced:
        return
    names = ", ".join(f"'{name}'" for name in sorted(replaced))
    rows: list[dict[str, Any]] = [asdict(metric) | {"hour": hour} for metric in metrics]
    replace_rows(settings, "metrics", rows, f"hour = '{hour}' AND name IN ({names})")


def read_metrics(settings: Settings, hour: str, prefix: str = "") -> list[Metric]:
    """The hour's figures whose names begin with ``prefix``."""
    rows = read_rows(settings, "metrics", where=pc.field("hour") == hour)
    found = [{key: value for key, value in row.items() if key != "hour"} for row in rows if row["name"].startswith(prefix)]
    return [Metric(**row) for row in found]


def metrics_by_hour(settings: Settings, name: str, last: str, hours: int, of_slice: str | None = None) -> dict[str, dict[str, Metric]]:
    """By subject and hour, the figures of this name of the ``hours`` hours up to ``last``; of one slice, or of every one."""
    where = (pc.field("name") == name) & (pc.field("hour") > shift(last, -hours)) & (pc.field("hour") <= last)
    found: dict[str, dict[str, Metric]] = {}
    for row in read_rows(settings, "metrics", where=where if of_slice is None else where & (pc.field("slice") == of_slice)):
        at = row.pop("hour")
        found.setdefault(row["subject"], {})[at] = Metric(**row)
    return found
