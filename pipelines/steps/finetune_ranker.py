"""Fine-tuning: production's test-then-train record on the new hour, one ordered pass over what is new, a candidate."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipelines.clock import check_hour
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.lake.held import HeldHours
from pipelines.lake.holds import holds
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.lake.tables import read_table
from pipelines.registry.gates import bound_of
from pipelines.registry.releases import production_before
from pipelines.settings import Settings
from pipelines.steps.candidates import CHALLENGER, RANKER, STATE, candidate_folder, keep_challenger, note_champion, note_version
from pipelines.steps.candidates import RANKER_STEP as STEP
from pipelines.steps.catalogue import has_vectors, hour_catalogue, input_version
from pipelines.steps.challengers import at_work, refreshed
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.step import Attempt, Outcome, attempt, settled, writer_lock
from pipelines.steps.transfer import transferred_from

if TYPE_CHECKING:
    from models.ranker import Ranker
    from pipelines.steps.example_batches import ExampleReader
    from pipelines.steps.ranker_judging import Judged, Seen
    from pipelines.steps.ranker_learning import Learned
    from pipelines.steps.update_record import UpdateRecord


def run(settings: Settings, hour: str) -> Outcome:
    """Learns all hours after the newest learned one up to ``hour`` and leaves a candidate; the first hour bootstraps."""
    check_hour(settings, hour)
    with writer_lock(settings, "gpu"):
        newest = ledger.newest_hour(settings, STEP)
        hours = [hour] if newest is None or hour <= newest else hour_range(shift(newest, 1), hour)
        with attempt(settings, STEP, hours) as current:
            return settled(current) or _learn(current)


def _learn(current: Attempt) -> Outcome:
    from pipelines.steps.gate_metrics import gate_metrics
    from pipelines.steps.policy_judging import read_log
    from pipelines.steps.ranker_judging import Seen, judge, judged_hours, looked_at_again, prequential
    from pipelines.steps.ranker_learning import FIRST_LOAD, base_of, learn
    from pipelines.steps.reach import served
    from pipelines.steps.unlike_hours import hold_unlike
    from pipelines.steps.update_record import update_record

    settings, hour = current.settings, current.hours[-1]
    encoder_version = encoder_spec(settings).version
    champion, source = production_before(settings, hour), base_of(settings, hour, encoder_version)
    base = source.state(settings) if source else None
    with current.stage("record"):
        reader = example_reader(current, encoder_version)
        held = hold_unlike(settings, [one for one in current.hours if one != settings.lake.start_hour], reader.impressions)
        reader = replace(reader, poisoned=reader.poisoned | held.keys())
        record = prequential(reader, hour, champion, base.served()) if champion and base and hour not in reader.poisoned else []
    with current.stage("learn"):
        learned = learn(reader, current.hours, base, encoder_version)
    told = "".join(f"; {one} is held, since it is unlike the others: {reason}" for one, reason in held.items())
    if learned is None:
        return current.record("unchanged", f"nothing to learn in these hours: the ranker stays as it is{told}")
    with current.stage("window"):
        hours = judged_hours(reader, hour)
        window = reader.window(hours) if champion and hours else None
    with current.stage("reach"):
        by = window.calibrating if window and len(window.calibrating) else None
        log = read_log(current, reader.catalogue)
        reached = served(settings, log, learned.state.served(), champion, by, least_value=bound_of("refresh", "policy_value_ratio"))
    with current.stage("judge"):
        seen = Seen(reader, window, hour, champion)
        judged = judge(seen, reached.ranker)
        challenger, by_challenger = _challenger(current, seen, learned if reached.share < 1 else None, hours)
        of_challenger = judge(seen, challenger, by_challenger).figures if challenger else {}
    record += [Metric("update_share", "ranker", reached.share), Metric("update_kl", "ranker", reached.kl)]
    with current.stage("look"):
        update = update_record(seen, current.hours, learned, reached.ranker, judged)
        record += looked_at_again(reader, hour, learned.state.served())
    figures = [*record, *gate_metrics(judged.figures, "ranker"), *gate_metrics(of_challenger, CHALLENGER), *update.metrics()]
    write_metrics(settings, hour, figures)
    keep_challenger(settings, hour, challenger)
    note_champion(settings, hour, champion.release_id if champion else None)
    with current.stage("register"):
        version = _register(current, learned, reached.ranker, judged, figures, reader, update)
    detail = (
        f"ranker {version} learned {learned.fresh} new and {learned.replayed} replayed rows of {len(current.hours)} hours, "
        f"{reached.share:.0%} of the update served{told}"
    )
    return current.record("done", detail, rows_in=learned.fresh, began_from=source.name if source else FIRST_LOAD)


def _challenger(current: Attempt, seen: "Seen", whole: "Learned | None", judged: Sequence[str]) -> "tuple[Ranker | None, Seen]":
    """What is, or would be, in staging with this hour, calibrated as what is served: a lineage of its own, else the ``whole`` update.

    And the rows as it sees them: by another encoder's vectors, where it reads those.
    """
    own, hour = at_work(current.settings), current.hours[-1]
    if own is None and whole is None:
        return None, seen
    if own is not None and own.encoder_version is not None:
        if not has_vectors(current, own.encoder_version):
            return None, seen
        reader = replace(seen.reader, catalogue=hour_catalogue(current, own.encoder_version))
        seen = replace(seen, reader=reader, window=reader.window(judged) if seen.window else None)
    ranker = (refreshed(seen.reader, own, hour) if own else whole.state.served()).eval()  # type: ignore[union-attr]
    if seen.window is not None and len(seen.window.calibrating):
        ranker.fit_calibration(seen.window.calibrating, seen.reader.catalogue.table)
    return ranker, seen


def example_reader(current: Attempt, encoder_version: str) -> "ExampleReader":
    """Examples at the ledger's version for the hour, for this encoder and the domain's tasks."""
    from pipelines.steps.example_batches import ExampleReader
    from pipelines.steps.known_likers import LikersByHour
    from spark_jobs.counters import counter_names

    tasks = current.settings.reward.tasks
    settings, catalogue = current.settings, hour_catalogue(current, encoder_version)
    examples, increments = (HeldHours(settings, name, input_version(current, name)) for name in ("training_examples", "item_hour"))
    features = read_table(settings, "item_features", version=input_version(current, "item_features"), columns=["item_id", "likers"])
    likers = LikersByHour(settings, increments, examples, (current.hours[-1], features))
    return ExampleReader(settings, examples, catalogue, likers, counter_names(tasks), tasks, frozenset(holds(settings, "poison")))


def _register(
    current: Attempt, learned: "Learned", ranker: "Ranker", judged: "Judged", figures: Sequence[Metric], reader: "ExampleReader",
    update: "UpdateRecord",
) -> str:  # fmt: skip
    """Saves the candidate, then registers it: one version an hour, whatever was killed before."""
    from models.artifacts import save_ranker
    from pipelines.registry.figures import calibration_figure, training_figure
    from pipelines.registry.runs import tracked_run
    from pipelines.registry.versions import register, set_alias

    settings, hour, steps = current.settings, current.hours[-1], learned.steps
    folder = candidate_folder(settings, hour)
    save_ranker(ranker, folder / RANKER)
    learned.state.save(folder / STATE)
    with tracked_run(settings, STEP, hour, {"hours": f"{current.hours[0]}..{hour}"}) as tracked:
        tracked.params(settings.ranker.model_dump() | {"fresh_rows": learned.fresh, "replayed_rows": learned.replayed})
        sampled = reader.sampled_negatives(current.hours)
        tracked.params({"examples": reader.count(current.hours), "negatives": f"{sampled} sampled, never shown" if sampled else "shown"})
        tracked.params({"bot_rows": reader.bot_rows(current.hours)})
        tracked.params({"transferred_from": transferred_from(settings) or "nothing"})
        tracked.params(update.params)
        tracked.inputs(current.inputs)
        tracked.metrics(update.layers())
        tracked.figures(figures)
        tracked.metrics({"loss": sum(step["loss"] for step in steps) / len(steps)})
        tracked.figure("training", training_figure([step["loss"] for step in steps], [step["gradient_norm"] for step in steps]))
        if judged.probabilities:
            tracked.figure("calibration", calibration_figure(judged.labels, judged.probabilities))
        for name, picture in update.pictures(settings, hour).items():
            tracked.figure(name, picture)
        version = register(settings, tracked, "ranker", folder / RANKER, hour)
    note_version(settings, hour, "ranker", version)
    set_alias(settings, "ranker", "candidate", version)
    return version
