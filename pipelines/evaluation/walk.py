"""Test, then train: hour after hour is scored by several arms, and only then learned and counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.artifacts import load_ranker
from models.ranker import Ranker
from models.training import TrainState
from pipelines.errors import UserError
from pipelines.evaluation.searches import known_queries
from pipelines.evaluation.state_fold import StateFold
from pipelines.evaluation.view import View
from pipelines.lake.held import HeldHours
from pipelines.lake.holds import holds
from pipelines.lake.tables import read_table
from pipelines.registry.judging import task_columns
from pipelines.registry.releases import PRODUCTION, all_releases, release_folder
from pipelines.settings import Settings
from pipelines.steps.candidates import RANKER
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.example_batches import ExampleReader
from pipelines.steps.known_likers import LikersByHour
from pipelines.steps.ranker_judging import judged_hours
from pipelines.steps.ranker_learning import learn
from spark_jobs.catalogue import Catalogue, build_catalogue, current_rows
from spark_jobs.counters import counter_names

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """Which weights score, and how fresh the counters and histories are that they see.

    *frozen*: the weights as they stood when the first candidates came. *daily*: weights, or counters, as they stood at the last midnight
    (UTC). *hourly*: as they stood at the end of the hour before. *production*: the release that was in production.
    """

    name: str
    weights: Literal["hourly", "daily", "frozen", "production"]
    counters: Literal["hourly", "daily"]


HOURLY = Arm("hourly", "hourly", "hourly")
ARMS = (
    HOURLY,
    Arm("daily weights", "daily", "hourly"),
    Arm("frozen weights", "frozen", "hourly"),
    Arm("daily counters", "hourly", "daily"),
    Arm("daily", "daily", "daily"),
    Arm("production", "production", "hourly"),
)


@dataclass(frozen=True)
class ScoredHour:
    """Candidates of one hour: ``rows`` (n,) of the file, each arm's log odds (n, T) by task, and what was known before the hour."""

    hour: str
    rows: NDArray[np.int64]
    part: pa.Table
    logits: Mapping[str, Floats]
    view: View


def walk(settings: Settings, candidates: pa.Table, tasks: Sequence[str], arms: Sequence[Arm] = ARMS) -> Iterator[ScoredHour]:
    """The candidates' hours in order, each before anything of it was learned or counted.

    The weights are those of the loop's recipe with a head for each of the ``tasks``, learned anew from the bootstrap on: no table of the
    root changes. Raises UserError for a log without examples, and for candidates of hours that have nothing before them.
    """
    log = _Log(settings, candidates["query"], tuple(tasks))
    hours = pc.strftime(candidates["ts"], "%Y-%m-%dT%H").to_numpy(zero_copy_only=False)
    first, last = min(hours), max(hours)
    if not log.examples.hours or first <= log.examples.hours[0]:
        known = f"the log's first hour is {log.examples.hours[0]}" if log.examples.hours else "the log has no examples"
        raise UserError(f"nothing was learned before {first}: {known}; run the hours of your log first, or leave these candidates out")
    for hour in sorted({*log.hours, *hours}):
        if hour > last:
            return
        log.begin(hour)
        rows = np.flatnonzero(hours == hour)
        if len(rows):
            part = candidates.take(rows).combine_chunks()
            yield ScoredHour(hour, rows, part, log.logits(part, arms), log.view("hourly"))
        log.learn()


class _Log:
    """The log up to the hour at work: states, catalogue and weights as they were before it."""

    def __init__(self, settings: Settings, searches: pa.ChunkedArray, tasks: tuple[str, ...]) -> None:
        self._settings, self._tasks = settings, tasks
        self.examples = HeldHours(settings, "training_examples")
        self._increments = {name: HeldHours(settings, f"{name}_hour") for name in ("user", "item")}
        self._likers = LikersByHour(settings, self._increments["item"], self.examples)
        self._items, self._vectors = read_table(settings, "items"), read_table(settings, "item_embeddings")
        self._updates = sorted(set(self._items["updated_hour"].to_pylist()))
        self._version, self._poisoned = encoder_spec(settings).version, frozenset(holds(settings, "poison"))
        self._queries = known_queries(settings, self._version, searches)
        self._catalogue = lru_cache(maxsize=2)(self._catalogue_of)
        self._folds = {counters: _new_folds() for counters in ("hourly", "daily")}
        self._today: list[dict[str, pa.Table]] = []
        self._state: TrainState | None = None
        self._weights: dict[str, Ranker] = {}
        self._releases = [row for row in all_releases(settings) if row.stage == PRODUCTION]
        self._release_ranker = lru_cache(maxsize=2)(lambda release_id: load_ranker(release_folder(settings, release_id) / RANKER))
        self.hour = ""

    @property
    def hours(self) -> Sequence[str]:
        """Hours that teach or count anything."""
        return sorted({*self.examples.hours, *self._increments["user"].hours, *self._increments["item"].hours})

    def begin(self, hour: str) -> None:
        """Goes on to this hour; with a new day, what is daily takes over what is hourly."""
        if hour[:10] != self.hour[:10]:
            for increments in self._today:
                _add(self._folds["daily"], increments)
            self._today.clear()
            if "hourly" in self._weights:
                self._weights["daily"] = self._weights["hourly"]
        self.hour = hour

    def view(self, counters: str) -> View:
        folds = self._folds[counters]
        return View(self.hour, self._known_items(self.hour, inclusive=False), folds["user"], folds["item"])

    def logits(self, part: pa.Table, arms: Sequence[Arm]) -> dict[str, Floats]:
        """By arm; an arm whose weights were not there yet is left out."""
        if "hourly" in self._weights:
            self._weights.setdefault("frozen", self._weights["hourly"])
        released = [row for row in self._releases if row.since <= self.hour]
        production = self._release_ranker(released[-1].release_id) if released else None
        readable = production is not None and production.config.encoder_version == self._version
        weights = self._weights | ({"production": production} if production and readable else {})
        there, found = [arm for arm in arms if arm.weights in weights], dict[str, Floats]()
        for counters in {arm.counters for arm in there}:  # arms of the same counters look at one view
            rankers = {arm.name: weights[arm.weights] for arm in there if arm.counters == counters}
            for arm, values in self.view(counters).logits(rankers, part).items():
                found[arm] = task_columns(values, rankers[arm].config.tasks, self._tasks)
        return {arm.name: found[arm.name] for arm in there}

    def learn(self) -> None:
        """Learns and counts the hour."""
        if self.hour in self.examples.hours:
            self._learn()
        increments = {name: held.read([self.hour]) for name, held in self._increments.items()}
        _add(self._folds["hourly"], increments)
        self._today.append(increments)

    def _learn(self) -> None:
        names = counter_names(self._settings.reward.tasks)
        catalogue = self._known_items(self.hour, inclusive=True)
        reader = ExampleReader(self._settings, self.examples, catalogue, self._likers, names, self._tasks, self._poisoned)
        learned = learn(reader, [self.hour], self._state, self._version)
        if learned is None:
            return
        self._state, ranker = learned.state, learned.state.served()
        if hours := judged_hours(reader, self.hour):
            by = reader.window(hours).calibrating
            if len(by):
                ranker.fit_calibration(by, catalogue.table)
        self._weights["hourly"] = ranker
        self._weights.setdefault("daily", ranker)

    def _known_items(self, hour: str, inclusive: bool) -> Catalogue:
        known = [update for update in self._updates if update < hour or (inclusive and update == hour)]
        return self._catalogue(known[-1] if known else "")

    def _catalogue_of(self, until: str) -> Catalogue:
        rows = self._items.filter(pc.field("updated_hour") <= until)
        return build_catalogue(current_rows(rows), self._vectors, self._version, self._queries)


def _new_folds() -> dict[str, StateFold]:
    return {"user": StateFold("user_features"), "item": StateFold("item_features")}


def _add(folds: Mapping[str, StateFold], increments: Mapping[str, pa.Table]) -> None:
    for name, fold in folds.items():
        if len(increments[name]):
            fold.add(increments[name])
