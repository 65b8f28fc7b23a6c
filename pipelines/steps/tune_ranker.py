"""Hyper-parameter search: settings of the ranker tried test-then-train on the last hours. It changes no table and no release."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.registry.gates import Measured
from pipelines.settings import Settings
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.step import Attempt, writer_lock
from pipelines.steps.tune_space import TuneHours, Values, present, suggest, tune_hours, with_values

if TYPE_CHECKING:
    from optuna import Study, Trial

    from pipelines.registry.runs import Run
    from pipelines.steps.example_batches import ExampleReader

STEP, TRIAL = "tune_ranker", "tune_trial"
STARTUP_TRIALS = 4  # finished ones before the pruner compares anything


@dataclass(frozen=True)
class Tuned:
    """The best settings and what they gain over the present ones, on hours that chose and on later ones that did not.

    chosen, chosen_present: AUC per user on the choosing hours; the latter nan where the present settings are no trial that was finished.
    gain: on the confirming hours, best less present, with its 95 % interval over users; None where the present settings are the best.
    """

    hours: TuneHours
    best: Values
    chosen: float
    chosen_present: float
    gain: Measured | None
    trials: dict[str, int]


@dataclass(frozen=True)
class _Search:
    settings: Settings
    reader: "ExampleReader"
    encoder_version: str
    hours: TuneHours
    parent: "Run"


def run(
    settings: Settings, trials: int, count: int, anew: bool = False, on_trial: Callable[[str], None] = lambda _: None
) -> Tuned:
    """So many more trials on the last ``count`` hours; a study that was begun goes on with its own hours, unless ``anew``.

    Raises UserError as ``check`` does, for a study that was begun under other settings, and where no trial was finished.
    """
    from pipelines.registry.runs import tracked_run
    from pipelines.steps.finetune_ranker import example_reader
    from pipelines.steps.tune_study import open_study

    newest = check(settings, count)
    with writer_lock(settings, "tune"):
        encoder_version = encoder_spec(settings).version
        reader = example_reader(Attempt(settings, STEP, [newest]), encoder_version)
        known = reader.teaching(reader.examples.hours)
        study, until = open_study(settings, encoder_version, known, count, anew)
        hours = tune_hours([hour for hour in known if hour <= until], count)
        with tracked_run(settings, STEP, until, {"study": study.study_name}) as parent:
            search = _Search(settings, reader, encoder_version, hours, parent)
            study.optimize(
                lambda trial: _trial(search, trial), n_trials=trials, catch=(FloatingPointError,),
                callbacks=[lambda _, trial: on_trial(_line(trial.number, trial.state.name.lower(), trial.values, trial.params))],
            )  # fmt: skip
            return _tuned(search, study)


def check(settings: Settings, count: int) -> str:
    """The newest hour that has examples. Raises UserError where there are too few hours to judge settings on."""
    from pipelines.lake.held import HeldHours
    from pipelines.lake.holds import without_poisoned

    newest = ledger.newest_done(settings, "build_examples", before="9999")
    if newest is None:
        raise UserError("there are no training examples yet; run `recloop demo`, or some hours, first")
    tune_hours(without_poisoned(settings, HeldHours(settings, "training_examples").hours), count)
    return newest.hour


def _trial(search: _Search, trial: "Trial") -> float:
    from optuna import TrialPruned

    from pipelines.evaluation.example_walk import running_auc, walk_examples
    from pipelines.registry.runs import tracked_run

    values = suggest(trial, search.settings)
    tags = {"mlflow.parentRunId": search.parent.run_id, "trial": str(trial.number)}
    with tracked_run(search.settings, TRIAL, search.hours.choosing[-1], tags) as tracked:
        tracked.params(values)

        def on_hour(number: int, auc: float) -> None:
            tracked.metrics({"prequential_auc_per_user": auc}, number)
            trial.report(auc, number)
            if trial.should_prune():
                raise TrialPruned

        hours = search.hours
        walk = walk_examples(with_values(search.reader, values), hours.until_chosen, set(hours.choosing), search.encoder_version)
        found = None
        with suppress(TrialPruned):  # a trial that is stopped is no run that failed
            found = running_auc(walk, on_hour)
        tracked.tag("trial_state", "pruned" if found is None else "finished")
    if found is None:
        raise TrialPruned
    return found


def _tuned(search: _Search, study: "Study") -> Tuned:
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not finished:
        raise UserError("no trial was finished: all were stopped or failed; run `recloop tune` again for more")
    now, best = present(search.settings), study.best_trial
    own = [trial.value for trial in finished if trial.params == now and trial.value is not None]
    gain = None if best.params == now else confirmed(search.reader, search.hours, search.encoder_version, best.params, now)
    counts = {state.name.lower(): len(study.get_trials(deepcopy=False, states=(state,))) for state in TrialState}
    if gain is not None:
        search.parent.metrics({"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})
    search.parent.params({f"best_{name}": value for name, value in best.params.items()})
    search.parent.metrics({"prequential_auc_per_user": best.values[0]})
    return Tuned(search.hours, best.params, best.values[0], max(own, default=float("nan")), gain, counts)


def confirmed(reader: "ExampleReader", hours: TuneHours, encoder_version: str, best: Values, now: Values) -> Measured | None:
    """AUC per user of ``best`` less ``now`` on the confirming hours, with its interval over users; None without both classes there."""
    from models.metrics import user_difference
    from pipelines.evaluation.example_walk import walk_examples
    from pipelines.registry.judging import user_codes

    walks = [
        list(walk_examples(with_values(reader, values), hours.hours, set(hours.confirming), encoder_version)) for values in (best, now)
    ]
    if not walks[0]:
        return None
    new, old = (np.concatenate([hour.probabilities for hour in walk]) for walk in walks)
    labels, users = np.concatenate([hour.labels for hour in walks[0]]), user_codes(pa.concat_arrays([hour.user_ids for hour in walks[0]]))
    mean, low, high = user_difference(labels, new, old, users, "auc_per_user")
    return Measured(mean, low, high, len(np.unique(users))) if np.isfinite(mean) else None


def _line(number: int, state: str, values: list[float] | None, params: Values) -> str:
    figure = f"{values[0]:.4f}" if values else "–"
    return f"trial {number} {state}: {figure}  {', '.join(f'{name} {value:.3g}' for name, value in params.items())}"
