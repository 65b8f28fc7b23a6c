"""Challengers with weights of their own: begun by a person's word, and refreshed every hour beside the main lineage.

``challengers/<lineage>/`` holds what was asked for and, by hour, the weights after it: a rerun of an hour goes on from the one before.
"""

import getpass
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.errors import UserError
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.local.landing import write_file
from pipelines.registry.releases import all_releases, challenger_before, newest_production, release_folder
from pipelines.registry.staging import CHANGE, SAME
from pipelines.settings import Settings, load_settings
from pipelines.steps.adapted_encoders import adapted_folder, note_before, read_report
from pipelines.steps.candidates import RANKER, RANKER_STEP, STATE
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.retrains import newest_retrain, retrain_folder
from pipelines.steps.step import writer_lock

if TYPE_CHECKING:
    from models.ranker import Ranker
    from models.training import TrainState
    from pipelines.steps.example_batches import ExampleReader

Source = Literal["retrain", "same", "encoder"]
KINDS = {"retrain": CHANGE, "same": SAME, "encoder": CHANGE}
KEPT_STATES = 3
_ABOUT = "challenger.json"


@dataclass(frozen=True)
class Challenger:
    """What was asked for. ``seed``: of its learning; ``by``: who asked; ``encoder_version``: of one that is not production's."""

    lineage: str
    kind: str
    source: Source
    seed: int
    reason: str
    by: str
    encoder_version: str | None = None


def begin(settings: Settings, source: Source, reason: str, encoder_version: str | None = None) -> Challenger:
    """Leaves a challenger that waits for staging, one at a time: the last full retrain, production's own weights with another seed, or an
    adapted encoder of this version with the ranker that was fitted to it.

    Raises UserError for one that waits or is in staging already, and where there is nothing to begin with.
    """
    if (encoder_version is not None) != (source == "encoder"):
        raise UserError("an encoder is staged by its version, and nothing else is; `recloop adapt-encoder` names versions")
    if not reason.strip():
        raise UserError("a challenger needs a reason; give --reason")
    with writer_lock(settings, "gpu"):
        _check_free(settings)
        newest = ledger.newest_hour(settings, RANKER_STEP)
        if newest is None:
            raise UserError("nothing was learned here yet that a challenger could be compared with; run the first hours")
        seed, own = settings.seed + (source == "same"), encoder_spec(settings).version
        if encoder_version is None:
            hour, state = _start(settings, source, newest, seed)
            if (read := state.ranker.config.encoder_version) != own:
                raise UserError(f"the {source} reads vectors of encoder {read}, encoder.path gives {own}; retrain on those vectors first")
        else:
            hour, state = _start_of_encoder(settings, encoder_version, own, seed)
        lineage = f"{source}-{newest}"
        if any(row.lineage == lineage for row in all_releases(settings)):
            raise UserError(f"{lineage} was in staging already; stage another after the next hour")
        found = Challenger(lineage, KINDS[source], source, seed, reason, getpass.getuser(), encoder_version)
        folder = _home(settings, found.lineage)
        shutil.rmtree(folder, ignore_errors=True)
        state.save(folder / hour / STATE)
        write_file(folder / _ABOUT, (json.dumps(asdict(found), indent=2) + "\n").encode())
    return found


def _start(settings: Settings, source: Source, newest: str, seed: int) -> "tuple[str, TrainState]":
    """The hour up to which it has learned, and its weights then."""
    from models.artifacts import load_ranker
    from models.training import TrainState
    from pipelines.steps.ranker_learning import finetune_settings

    learning = finetune_settings(settings, bootstrap=False, seed=seed)
    if source == "same":
        champion = newest_production(settings)
        if champion is None:
            raise UserError("nothing is in production yet; run the first hours")
        return newest, TrainState.create(load_ranker(release_folder(settings, champion.release_id) / RANKER), learning)
    retrain = newest_retrain(settings)
    if retrain is None:
        raise UserError("there is no full retrain that could challenge production; run `recloop retrain` first")
    return retrain.hour, TrainState.load(retrain_folder(settings, retrain.hour) / STATE, learning)


def _start_of_encoder(settings: Settings, version: str, own: str, seed: int) -> "tuple[str, TrainState]":
    """The same, for an adapted encoder, beside which the way back is noted."""
    from models.training import TrainState
    from pipelines.steps.ranker_learning import finetune_settings

    report, champion = read_report(settings, version), newest_production(settings)
    if version == own or champion is None:
        raise UserError(f"encoder {version} is at work already" if champion else "nothing is in production yet; run the first hours")
    if (named := load_settings(settings.home, {}).encoder.path) != settings.encoder.path:
        found = f"RECLOOP__ENCODER__PATH names {settings.encoder.path}, recloop.yaml {named}"
        raise UserError(f"{found}; unset the variable: an encoder that wins is named in the file")
    note_before(settings, version, champion.release_id)
    learning = finetune_settings(settings, bootstrap=False, seed=seed)
    return report.hour, TrainState.load(adapted_folder(settings, version) / STATE, learning)


def waiting(settings: Settings) -> Challenger | None:
    """The one that has no row in ``releases`` yet."""
    known = {row.lineage for row in all_releases(settings)}
    folders = sorted((settings.home / "challengers").glob(f"*/{_ABOUT}"))
    return next((_read(path) for path in folders if path.parent.name not in known), None)


def at_work(settings: Settings) -> Challenger | None:
    """The one that the hour refreshes: in staging with weights of its own, or waiting while nothing is in staging."""
    running = challenger_before(settings)
    if running is None:
        return waiting(settings)
    path = _home(settings, running.lineage) / _ABOUT
    return _read(path) if path.exists() else None


def refreshed(reader: "ExampleReader", own: Challenger, hour: str) -> "Ranker":
    """The challenger after all hours up to this one; its weights are kept, to go on from in the next."""
    from models.training import TrainState
    from pipelines.steps.ranker_learning import finetune_settings, learn

    settings, home = reader.settings, _home(reader.settings, own.lineage)
    base = max(found for found in _hours(home) if found < hour)
    state = TrainState.load(home / base / STATE, finetune_settings(settings, bootstrap=False, seed=own.seed))
    hours: Sequence[str] = hour_range(shift(base, 1), hour)
    learned = learn(reader, hours, state, state.ranker.config.encoder_version, seed=own.seed)
    state = learned.state if learned else state
    state.save(home / hour / STATE)
    for old in _hours(home)[:-KEPT_STATES]:
        shutil.rmtree(home / old)
    return state.served()


def won_state(settings: Settings, base: str | None) -> Path | None:
    """Where the main lineage goes on from after a challenger with weights of its own has won, until it has learned an hour itself."""
    champion = newest_production(settings)
    if champion is None or champion.kind != CHANGE or (base is not None and base > champion.hour):
        return None
    path = _home(settings, champion.lineage) / champion.hour / STATE
    return path if path.exists() else None


def _check_free(settings: Settings) -> None:
    if found := waiting(settings):
        raise UserError(f"{found.lineage} waits for staging already: one challenger at a time")
    running = challenger_before(settings)
    if running is not None and (_home(settings, running.lineage) / _ABOUT).exists():
        raise UserError(f"{running.lineage} is in staging: one challenger at a time; `recloop reject {running.lineage}` ends it")


def _home(settings: Settings, lineage: str) -> Path:
    return settings.home / "challengers" / lineage


def _hours(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("????-??-??T??"))


def _read(path: Path) -> Challenger:
    return Challenger(**json.loads(path.read_text()))

