"""Full retrain: a new ranker from all examples up to an hour, compared with the lineage as of that hour. No release moves by it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.clock import check_hour
from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.settings import Settings
from pipelines.steps.candidates import RANKER, RANKER_STEP, STATE, candidate_folder
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.retrains import FORGETTING, prune_retrains, retrain_folder
from pipelines.steps.retrains import RETRAIN_STEP as STEP
from pipelines.steps.step import Attempt, Outcome, attempt, settled, writer_lock

if TYPE_CHECKING:
    from models.ranker import Ranker
    from pipelines.steps.example_batches import ExampleReader
    from pipelines.steps.retrain_learning import Retrained


def run(settings: Settings, hour: str | None = None, processes: int = 1) -> Outcome:
    """Retrains with the data cut off at the end of ``hour``, default as ``retrained_hour`` says.

    It holds no lock of the hourly steps: they go on meanwhile.
    """
    hour = retrained_hour(settings, hour)
    with writer_lock(settings, "retrain"), attempt(settings, STEP, [hour]) as current:
        return settled(current) or _retrain(current, processes)


def retrained_hour(settings: Settings, hour: str | None) -> str:
    """The hour, or the newest that the lineage learned. Raises UserError for one that it has not reached, or where it learned nothing."""
    if hour is not None:
        check_hour(settings, hour)
    newest = newest_learned(settings)
    if hour is not None and hour > newest:
        raise UserError(f"the lineage has learned up to {newest}; give that or an earlier hour, or run `recloop hour {hour}` first")
    return hour or newest


def newest_learned(settings: Settings) -> str:
    """The newest hour that the lineage learned. Raises UserError where there is none."""
    hours = [row.hour for row in ledger.rows(settings, RANKER_STEP) if row.status == "done"]
    if not hours:
        raise UserError("nothing was learned here yet; run `recloop demo`, or `recloop hour` for lake.start_hour, first")
    return max(hours)


def _retrain(current: Attempt, processes: int) -> Outcome:
    from models.artifacts import save_ranker

    hour, encoder_version = current.hours[-1], encoder_spec(current.settings).version
    reader = example_reader(current, encoder_version)
    hours = reader.teaching([found for found in reader.examples.hours if found <= hour])
    with current.stage("learn"):
        learned = _learned(current, reader, hours, encoder_version, processes)
    if learned is None:
        return current.record("unchanged", "no examples up to this hour: nothing to learn from")
    with current.stage("judge"):
        ranker = _calibrated(reader, hour, learned)
        figures = _compared(reader, hour, learned)
    folder = retrain_folder(current.settings, hour)
    save_ranker(ranker, folder / RANKER)
    learned.state.save(folder / STATE)
    write_metrics(current.settings, hour, figures)
    with current.stage("register"):
        version = _register(current, learned, figures, {"hours": len(hours), "processes": processes})
    prune_retrains(current.settings)
    detail = f"ranker {version} learned {learned.rows} rows of {len(hours)} hours; {sentence(figures)}"
    return current.record("done", detail, rows_in=learned.rows)


def _learned(
    current: Attempt, reader: "ExampleReader", hours: Sequence[str], encoder_version: str, processes: int
) -> "Retrained | None":
    from pipelines.steps.retrain_learning import BUFFER_ROWS, retrain, untrained
    from pipelines.steps.retrain_processes import START, Job, retrain_in

    start = untrained(reader, hours, encoder_version)
    if start is None or processes == 1:
        return retrain(reader, hours, start) if start is not None else None
    settings, hour = current.settings, current.hours[-1]
    folder = retrain_folder(settings, hour)
    start.save(folder / START)
    job = Job(settings, hour, tuple(hours), encoder_version, dict(current.inputs), folder, BUFFER_ROWS)
    return retrain_in(job, processes, here=settings.spark.remote is None)


def _calibrated(reader: "ExampleReader", hour: str, learned: "Retrained") -> "Ranker":
    from pipelines.steps.ranker_judging import judged_hours

    ranker, hours = learned.state.served(), judged_hours(reader, hour)
    by = reader.window(hours).calibrating if hours else None
    if by is not None and len(by):
        ranker.fit_calibration(by, reader.catalogue.table)
    return ranker


def _compared(reader: "ExampleReader", hour: str, learned: "Retrained") -> list[Metric]:
    """The guard's figures; none where the lineage's state of the hour is not kept any more."""
    from models.training import TrainState
    from pipelines.steps.forgetting import forgetting
    from pipelines.steps.ranker_learning import finetune_settings

    folder = candidate_folder(reader.settings, hour) / STATE
    if not folder.exists():
        return []
    lineage = TrainState.load(folder, finetune_settings(reader.settings, bootstrap=False))
    return forgetting(reader, hour, lineage.served(), learned.state.served())


def sentence(figures: Sequence[Metric]) -> str:
    """What the guard found, for the ledger and the screen."""
    found = [metric for metric in figures if metric.name.startswith(FORGETTING)]
    if not found:
        return "not compared: the lineage's state of this hour is not there, or no rows that neither learned from"
    parts = [f"{m.name.removeprefix(FORGETTING)} {m.value:+.4f} [{m.low:+.4f}, {m.high:+.4f}], n={m.n}" for m in found]
    return f"AUC per user, lineage less retrain: {'; '.join(parts)}"


def _register(current: Attempt, learned: "Retrained", figures: Sequence[Metric], params: dict[str, int]) -> str:
    """A version without an alias: nothing serves it, and the lineage goes on from it only where a person says so."""
    from pipelines.registry.figures import training_figure
    from pipelines.registry.runs import tracked_run
    from pipelines.registry.versions import register

    settings, hour, steps = current.settings, current.hours[-1], learned.steps
    with tracked_run(settings, STEP, hour) as tracked:
        tracked.params(settings.ranker.model_dump() | params | {"rows": learned.rows, "most_rows_held": learned.most_held})
        tracked.inputs(current.inputs)
        tracked.metrics({f"{m.name}.{m.subject if m.name.startswith(FORGETTING) else f'{m.subject}_{m.slice}'}": m.value for m in figures})
        tracked.metrics({"loss": sum(step["loss"] for step in steps) / len(steps)})
        tracked.figure("training", training_figure([step["loss"] for step in steps], [step["gradient_norm"] for step in steps]))
        return register(settings, tracked, "ranker", retrain_folder(settings, hour) / RANKER, hour, {"recipe": "full retrain"})
