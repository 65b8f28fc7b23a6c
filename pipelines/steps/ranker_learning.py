"""One ordered pass of the ranker over new hours: where it starts, what it learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from models.artifacts import load_ranker
from models.ranker import Ranker, RankerConfig
from models.records import RankerBatch
from models.training import FinetuneSettings, TrainState, finetune
from models.transfer import transferred
from models.unseen_levels import at_unseen_levels
from pipelines.errors import UserError
from pipelines.registry.releases import production_before, release_folder
from pipelines.settings import Settings
from pipelines.steps.adapted_encoders import adapted_folder
from pipelines.steps.candidates import CANDIDATE_OF, RANKER, STATE, base_hour, candidate_folder
from pipelines.steps.challengers import won_state
from pipelines.steps.encoders import read_version
from pipelines.steps.example_batches import ExampleReader, joined
from pipelines.steps.retrains import adopted_folder, adopted_hour
from pipelines.steps.transfer import transfer_folder
from spark_jobs.contracts import HISTORY
from spark_jobs.counters import CLICK_RATE, CLICK_RATE_BASE
from spark_jobs.ranker_inputs import CROSS, RELEVANCE

FIRST_LOAD = "the first load"


@dataclass(frozen=True)
class Learned:
    """The state after the pass, loss and gradient norm of each step, and how many rows were new and replayed.

    corrections: of the new rows those that take back what a late label had said before.
    """

    state: TrainState
    steps: Sequence[dict[str, float]]
    fresh: int
    replayed: int
    corrections: int
    learning_rate: float


def finetune_settings(settings: Settings, bootstrap: bool, seed: int | None = None) -> FinetuneSettings:
    """How the ranker learns: the bootstrap in several epochs at a higher rate, an hour in one pass; ``seed``: another than the root's."""
    ranker = settings.ranker
    rate, epochs = (ranker.bootstrap_lr, ranker.bootstrap_epochs) if bootstrap else (ranker.lr, 1)
    return FinetuneSettings(lr=rate, batch_size=ranker.batch_size, epochs=epochs, seed=settings.seed if seed is None else seed)


@dataclass(frozen=True)
class Base:
    """Where a pass goes on: what that is, as the ledger says it, and the folder of its weights."""

    name: str
    folder: Path

    def state(self, settings: Settings) -> TrainState:
        """With the optimizer, where the folder holds one: the ranker of a release has none."""
        learning = finetune_settings(settings, bootstrap=False)
        if self.folder.name == RANKER:
            return TrainState.create(load_ranker(self.folder), learning)
        return TrainState.load(self.folder, learning)


def base_of(settings: Settings, hour: str, encoder_version: str) -> Base | None:
    """Where the lineage goes on; None before the bootstrap.

    From a challenger that won or a retrain that was adopted since the last candidate, else from that candidate, else from the ranker of a
    newly released encoder, else from production's weights. Raises UserError where production reads the vectors of another encoder.
    """
    champion = production_before(settings, hour)
    if champion is None:
        return None
    production = release_folder(settings, champion.release_id) / RANKER
    if (found := read_version(production)) != encoder_version:
        raise UserError(
            f"production {champion.release_id} reads vectors of encoder {found}, encoder.path gives {encoder_version}; "
            f"`recloop use-encoder {encoder_version}` releases an adapted encoder with its ranker, else put encoder.path back"
        )
    base, adopted = base_hour(settings, hour), adopted_hour(settings, hour)
    bases = [Base(f"the ranker that was fitted to encoder {encoder_version}", adapted_folder(settings, encoder_version) / STATE)]
    if base is not None:
        bases.insert(0, Base(f"{CANDIDATE_OF}{base}", candidate_folder(settings, base) / STATE))
    if adopted is not None and (base is None or base <= adopted):
        bases.insert(0, Base(f"the full retrain that was adopted at {adopted}", adopted_folder(settings, adopted)))
    if (won := won_state(settings, base)) is not None:
        bases.insert(0, Base(f"{champion.lineage}, which won as {champion.release_id}", won))
    there = (one for one in bases if one.folder.exists() and read_version(one.folder) == encoder_version)
    return next(there, Base(f"the weights of production {champion.release_id}", production))


def base_state(settings: Settings, hour: str, encoder_version: str) -> TrainState | None:
    """The weights of ``base_of``."""
    base = base_of(settings, hour, encoder_version)
    return base.state(settings) if base else None


def learn(
    reader: ExampleReader, hours: Sequence[str], base: TrainState | None, encoder_version: str, seed: int | None = None
) -> Learned | None:
    """The hours in order, each together with a replay sample; None where they hold no example. Poisoned hours teach nothing.

    The first load teaches alone, and also what lies beyond it (``at_unseen_levels``).
    """
    settings, fresh_rows, replayed, corrections = reader.settings, 0, 0, 0
    steps: list[dict[str, float]] = []
    state, learning = base, finetune_settings(settings, bootstrap=base is None, seed=seed)
    for hour in reader.teaching(hours):
        fresh = reader.fresh(hour, gate=False).batch
        if not (known := len(fresh)):
            continue
        corrections += int((fresh.weight < 0).sum())
        if state is None:
            state = first_state(reader, fresh, learning, encoder_version)
            fresh = joined([fresh, at_unseen_levels(fresh, reader.names, settings.seed)])
        wanted = int(settings.ranker.replay_ratio * len(fresh)) if base is not None else 0
        replay = reader.replay(hour, wanted)
        batch = joined([fresh, replay])
        state = finetune(state, batch, reader.catalogue.table, learning, lambda _, found: steps.append(found))
        fresh_rows, replayed = fresh_rows + known, replayed + len(batch) - len(fresh)
    if state is None or not fresh_rows:
        return None
    return Learned(state, steps, fresh_rows, replayed, corrections, learning.lr)


def first_state(reader: ExampleReader, fresh: RankerBatch, learning: FinetuneSettings, encoder_version: str) -> TrainState:
    """A ranker whose scales are those of the first load: untrained, or with what another root taught."""
    settings, table = reader.settings, reader.catalogue.table
    config = RankerConfig(
        user_counters=reader.names, item_counters=reader.names, cross=CROSS, tasks=reader.tasks, encoder_version=encoder_version,
        text_dim=table.vectors.shape[1], dim=settings.ranker.dim, history=HISTORY, hidden=settings.ranker.hidden,
        rate=CLICK_RATE, rate_base=CLICK_RATE_BASE, relevance=RELEVANCE, image_dim=table.images.shape[1],
    )  # fmt: skip
    torch.manual_seed(settings.seed)
    ranker = Ranker(config)
    ranker.fit_statistics(fresh, table)
    other = transfer_folder(settings) / RANKER
    return TrainState.create(transferred(load_ranker(other), ranker) if other.exists() else ranker, learning)
