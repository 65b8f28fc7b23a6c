"""The encoder learns from feedback: an adapter by clicks or a domain's texts, judged beside the frozen one; a person releases it."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clock import check_hour
from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from pipelines.steps.adapted_encoders import ENCODER, AdaptedReport, adapted_folder, write_report
from pipelines.steps.candidates import RANKER, STATE
from pipelines.steps.catalogue import input_version
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.step import Attempt, Outcome, attempt, writer_lock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.training import TrainState
    from pipelines.registry.runs import Run
    from pipelines.steps.encoder_judging import Compared
    from pipelines.steps.encoder_learning import Method
    from pipelines.steps.example_batches import ExampleReader
    from spark_jobs.embeddings import EncoderSpec

STEP = "adapt_encoder"


def run(settings: Settings, hour: str | None = None, method: "Method" = "lora", epochs: int | None = None) -> Outcome:
    """Adapts the root's encoder to the examples up to ``hour`` (default the newest), and leaves it with a ranker fitted to it.

    Judged on the gates' window, which teaches the encoder nothing, by users that teach nothing. Raises UserError where hours are missing.
    """
    newest = hour or ledger.newest_hour(settings, "build_features")
    if newest is None:
        raise UserError(f"no hour is finished under {settings.home}; run `recloop demo`, or `recloop hour H`, first")
    check_hour(settings, newest)
    if epochs is not None:
        settings = settings.model_copy(update={"adapter": settings.adapter.model_copy(update={"epochs": epochs})})
    with writer_lock(settings, "encoder"), attempt(settings, STEP, [newest]) as current:  # it may take hours: the loop goes on beside it
        return _adapt(current, method)


def _adapt(current: Attempt, method: "Method") -> Outcome:
    from pipelines.registry.runs import tracked_run
    from pipelines.steps.encoder_judging import Arm, compare
    from pipelines.steps.encoder_learning import adapt, fitted, teaching, with_vectors
    from pipelines.steps.ranker_judging import judged_hours

    settings, hour, spec = current.settings, current.hours[-1], encoder_spec(current.settings)
    with tracked_run(settings, STEP, hour, {"method": method, "adapted_from": spec.version}) as tracked:
        with current.stage("read"):
            reader = replace(example_reader(current, spec.version), fold_hour=hour)
            judged, texts = judged_hours(reader, hour), _texts(current)
            taught = reader.teaching([h for h in reader.examples.hours if not judged or h < judged[0]])
            if not judged or not taught:
                raise UserError(f"hour {hour} leaves no hours to judge by after the first load; run more hours first")
        with current.stage("fit on frozen vectors"):
            frozen = fitted(reader, taught, spec.version)
        with current.stage("adapt"):
            unfinished, losses = settings.home / "encoders" / f".{hour}", list[dict[str, float]]()
            shutil.rmtree(unfinished, ignore_errors=True)
            rows = teaching(reader, taught, texts, frozen.ranker.config)
            adapt(settings, spec, method, rows, reader.catalogue.table, unfinished, lambda _, found: losses.append(found))
            own = _kept(settings, replace(spec, path=str(unfinished)))
        with current.stage("fit on adapted vectors"):
            adapted_reader = with_vectors(reader, own, texts)
            state = fitted(adapted_reader, taught, own.version)
        with current.stage("judge"):
            window = reader.window(judged)
            arms = (Arm(frozen.served(), reader), Arm(state.served(), adapted_reader))
            known = reader.catalogue.rows(reader.examples.read(taught, columns=["item_id"])["item_id"].combine_chunks().unique())
            found = compare(window.judging, *arms, known)
        with current.stage("register"):
            state = _caught_up(adapted_reader, judged, state, own.version)
            _save_ranker(settings, adapted_reader, judged, state, own.version)
            versions = _register(current, tracked, method, own, found, losses)
            tracked.figure("embeddings", _map(current, {spec.version: reader, own.version: adapted_reader}))
    gains = [str(one) for one in found]
    write_report(settings, AdaptedReport(own.version, method, hour, versions, gains))
    return current.record("done", f"encoder {own.version} by {method}; {'; '.join(gains)}", rows_in=len(rows.batch))


def _map(current: Attempt, readers: "Mapping[str, ExampleReader]") -> "Figure":
    """Where each encoder puts the catalogue."""
    from pipelines.registry.embedding_map import embedding_figure, item_groups
    from spark_jobs.catalogue import current_rows

    items = current_rows(read_table(current.settings, "items", version=input_version(current, "items"))).sort_by("item_id")
    vectors = {version: reader.catalogue.table.vectors[1 : len(items) + 1].numpy() for version, reader in readers.items()}
    return embedding_figure(vectors, item_groups(items))


def _texts(current: Attempt) -> list[str]:
    """Of the catalogue's items, in its order."""
    from spark_jobs.catalogue import current_rows, item_texts

    items = read_table(current.settings, "items", version=input_version(current, "items"))
    return item_texts(current_rows(items).sort_by("item_id"))


def _kept(settings: Settings, unfinished: "EncoderSpec") -> "EncoderSpec":
    """The encoder in the folder of its version; one that was made before is the same, and may be in use."""
    target = adapted_folder(settings, unfinished.version) / ENCODER
    if target.exists():
        shutil.rmtree(unfinished.path)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(unfinished.path).rename(target)
    return replace(unfinished, path=str(target))


def _caught_up(reader: "ExampleReader", hours: Sequence[str], state: "TrainState", encoder_version: str) -> "TrainState":
    """The ranker after the judged hours too."""
    from pipelines.steps.ranker_learning import learn

    learned = learn(reader, hours, state, encoder_version)
    return learned.state if learned else state


def _save_ranker(settings: Settings, reader: "ExampleReader", hours: Sequence[str], state: "TrainState", encoder_version: str) -> None:
    """What would be served, calibrated on these hours, and where the lineage would go on from."""
    from models.artifacts import save_ranker

    ranker, by = state.served(), reader.window(hours).calibrating
    if len(by):
        ranker.fit_calibration(by, reader.catalogue.table)
    folder = adapted_folder(settings, encoder_version)
    save_ranker(ranker, folder / RANKER)
    state.save(folder / STATE)


def _register(
    current: Attempt, tracked: "Run", method: str, own: "EncoderSpec", found: "Sequence[Compared]", losses: list[dict[str, float]]
) -> dict[str, str]:
    from pipelines.registry.figures import training_figure
    from pipelines.registry.versions import register

    settings, hour, folder = current.settings, current.hours[-1], adapted_folder(current.settings, own.version)
    tracked.params(settings.adapter.model_dump() | {"method": method, "encoder": own.version})
    tracked.inputs(current.inputs)
    for one in found:
        name = one.rows_of.replace(" ", "_")
        tracked.metrics({f"{key}.{name}": value for key, value in asdict(one).items() if key != "rows_of"})
    tracked.figure("training", training_figure([step["loss"] for step in losses], [step["gradient_norm"] for step in losses]))
    tracked.text("gains.json", json.dumps([asdict(one) for one in found], indent=2) + "\n")
    chosen_by = {"decision": "none: recloop use-encoder releases it", "method": method}
    return {kind: register(settings, tracked, kind, folder / kind, hour, chosen_by) for kind in ("encoder", "ranker")}
