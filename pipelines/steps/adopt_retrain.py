"""The lineage goes on from the last full retrain: brought up to the hour that it has reached, then the start of the next one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.hours import hour_range, shift
from pipelines.registry.releases import production_before, release_folder
from pipelines.settings import Settings
from pipelines.steps.candidates import RANKER, STATE
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.retrain_ranker import newest_learned
from pipelines.steps.retrains import ADOPT_STEP as STEP
from pipelines.steps.retrains import adopted_folder, is_adopted, newest_retrain, prune_retrains, retrain_folder
from pipelines.steps.step import Attempt, Outcome, attempt, writer_lock

if TYPE_CHECKING:
    from models.training import TrainState

_BY_DATA = ("image_dim",)  # a catalogue may get images later on: no setting could be put back


def run(settings: Settings) -> Outcome:
    """Learns the hours since the retrain by the hourly recipe; the next hour's candidate goes on from there, through all gates.

    Raises UserError where there is no retrain, or where it is a model of another shape than production's: that is no refresh.
    """
    with writer_lock(settings, "gpu"):
        retrain, newest = newest_retrain(settings), newest_learned(settings)
        if retrain is None:
            raise UserError("there is no full retrain to go on from; run `recloop retrain` first")
        with attempt(settings, STEP, [newest]) as current:
            if is_adopted(settings, retrain):
                return current.record("unchanged", f"the lineage goes on from the retrain of {retrain.hour} already")
            return _adopt(current, retrain.hour)


def _adopt(current: Attempt, hour: str) -> Outcome:
    from models.training import TrainState
    from pipelines.steps.ranker_learning import finetune_settings, learn

    settings, newest = current.settings, current.hours[-1]
    state = TrainState.load(retrain_folder(settings, hour) / STATE, finetune_settings(settings, bootstrap=False))
    _check_shape(settings, newest, hour, state)
    since: Sequence[str] = hour_range(shift(hour, 1), newest)
    with current.stage("learn"):
        encoder_version = encoder_spec(settings).version
        learned = learn(example_reader(current, encoder_version), since, state, encoder_version) if since else None
    (learned.state if learned else state).save(adopted_folder(settings, newest))
    prune_retrains(settings)
    caught_up = f", with {len(since)} hours learned since" if since else ""
    return current.record("done", f"the lineage goes on from the retrain of {hour}{caught_up}")


def _check_shape(settings: Settings, newest: str, hour: str, state: "TrainState") -> None:
    from models.artifacts import load_ranker

    champion = production_before(settings, shift(newest, 1))
    if champion is None:
        return
    served, own = load_ranker(release_folder(settings, champion.release_id) / RANKER).config, state.ranker.config
    if other := [name for name in vars(own) if name not in _BY_DATA and getattr(own, name) != getattr(served, name)]:
        raise UserError(
            f"the retrain of {hour} differs from production in {', '.join(other)}: the lineage cannot go on from a model of another shape; "
            "set ranker.* and encoder.* back and retrain, or begin a root with the new ones"
        )
