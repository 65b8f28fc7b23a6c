"""One MLflow run a step and hour: parameters, metrics, the Delta versions that it read, figures."""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.lake.metrics import GATE_FOLD
from pipelines.lake.metrics import Metric as Figured
from pipelines.registry.client import RegistryDown, call, unless_exists
from pipelines.registry.provenance import delta_dataset, run_tags
from pipelines.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_METRICS_A_REQUEST, _PARAMS_A_REQUEST = 1000, 100
_UNNAMEABLE = re.compile(r"[^\w\-. :]")  # what MLflow refuses in the name of a metric
_ABOUT = (
    "One recommender, hour by hour. A run is named by its step and hour and lists the Delta table versions that it read. Its model is "
    "registered under Models, where each version says what it was trained on, how it compares with production, and what became of it."
)


@dataclass
class Run:
    """Handle on one run. Metrics wait and are sent together: at the end, or before a model is registered."""

    settings: Settings
    run_id: str
    experiment_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    _waiting: "list[Metric]" = field(default_factory=list)

    def params(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        found = [Param(name, str(value)) for name, value in values.items()]
        for start in range(0, len(found), _PARAMS_A_REQUEST):
            self._send(params=found[start : start + _PARAMS_A_REQUEST])

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name; what is not finite is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(name, float(value), now, step or 0) for name, value in values.items() if math.isfinite(value)]

    def figures(self, figures: Sequence[Figured]) -> None:
        """Figures by ``metric_key``; beside each, as ``<key>.n``, how many it rests on where that is known."""
        self.metrics({metric_key(found): found.value for found in figures})
        self.metrics({f"{metric_key(found)}.n": found.n for found in figures if found.n is not None})

    def inputs(self, tables: Mapping[str, int], context: str = "training") -> None:
        """Delta tables by name, each at the version that was read, as the run's datasets."""
        from mlflow.entities import DatasetInput, InputTag

        tag = InputTag("mlflow.data.context", context)
        found = [DatasetInput(delta_dataset(self.settings, name, version), [tag]) for name, version in tables.items()]
        if found:
            call(self.settings, lambda client: client.log_inputs(self.run_id, datasets=found))

    def figure(self, name: str, figure: "Figure") -> None:
        """A picture under ``figures/``."""
        call(self.settings, lambda client: client.log_figure(self.run_id, figure, f"figures/{name}.png"))

    def text(self, name: str, text: str) -> None:
        call(self.settings, lambda client: client.log_text(self.run_id, text, name))

    def tag(self, name: str, value: str) -> None:
        call(self.settings, lambda client: client.set_tag(self.run_id, name, value))

    def flush(self) -> None:
        """Sends the metrics that wait."""
        while self._waiting:
            self._send(metrics=self._waiting[:_METRICS_A_REQUEST])
            del self._waiting[:_METRICS_A_REQUEST]

    def end(self, status: str) -> None:
        call(self.settings, lambda client: client.set_terminated(self.run_id, status))

    def _send(self, **batch: Any) -> None:
        call(self.settings, lambda client: client.log_batch(self.run_id, **batch))


def metric_key(metric: Figured) -> str:
    """``<name>.<subject>``; of a slice in a group of its own, which the UI folds: ``<slice>/<name>.<subject>``."""
    key = f"{metric.name}.{metric.subject}"
    return key if metric.slice in ("all", GATE_FOLD) else f"{_UNNAMEABLE.sub('_', metric.slice)}/{key}"


@contextmanager
def tracked_run(settings: Settings, step: str, hour: str, tags: Mapping[str, str] = MappingProxyType({})) -> Iterator[Run]:
    """A run that ends FINISHED, or FAILED (KILLED by a signal) with the error as a tag; the error goes on.

    A step runs once at a time at a root, so what an earlier attempt left RUNNING is marked KILLED. Raises RegistryDown.
    """
    run = _start(settings, step, hour, tags)
    try:
        yield run
        run.flush()
    except RegistryDown:
        raise
    except BaseException as error:
        with suppress(RegistryDown):
            run.tag("error", f"{type(error).__name__}: {error}"[:500])
            run.flush()
            run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.end("FINISHED")


def _start(settings: Settings, step: str, hour: str, tags: Mapping[str, str]) -> Run:
    experiment = call(settings, lambda client: experiment_id(client, settings))
    all_tags = run_tags(settings, step, hour) | dict(tags)
    created = call(settings, lambda client: client.create_run(experiment, tags=all_tags, run_name=f"{step} {hour}"))
    unfinished = f"attributes.status = 'RUNNING' and tags.step = '{step}' and tags.root = '{all_tags['root']}'"
    for left in call(settings, lambda client: client.search_runs([experiment], unfinished)):
        if left.info.run_id != created.info.run_id:
            Run(settings, left.info.run_id, experiment).end("KILLED")
    return Run(settings, created.info.run_id, experiment, all_tags)


def experiment_id(client: "MlflowClient", settings: Settings) -> str:
    """Id of the domain's experiment, which is created where it is missing. Raises UserError for one that is deleted."""
    name = f"recloop-{settings.domain}"
    found = client.get_experiment_by_name(name)
    if found is None:
        with unless_exists():
            return str(client.create_experiment(name, tags={"mlflow.note.content": _ABOUT}))
        return experiment_id(client, settings)
    if found.lifecycle_stage != "active":
        raise UserError(f"MLflow experiment {name} is deleted; bring it back: `mlflow experiments restore -x {found.experiment_id}`")
    return str(found.experiment_id)
