"""A made-up stream of slates and clicks whose truth is known, with the Bayes filter that no ranker can beat.

    make bench-stream            # or: python -m benchmarks.ranker.stream none slow medium fast

logit of a click = base + the user's taste for the item's topic + the item's appeal + position. Tastes and appeals are Ornstein-Uhlenbeck
processes; a speed is the half-life of their memory. Items say their topic by words and a tag. Slates are drawn uniformly. The limit is
the assumed-density filter that knows every parameter and learns from the same clicks, hour by hour. Frozen weights are those after the
first week of slates; judged is the second. Writes one file a speed into benchmarks/results/.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.ranker.results import write_gains
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.shown_sets import shown_candidates
from pipelines.hours import parse_hour, shift
from pipelines.local.services import down, ensure_spark
from pipelines.settings import Settings, load_settings
from pipelines.steps import build_features

HALF_LIFE_H = {"none": float("inf"), "slow": 720.0, "medium": 168.0, "fast": 48.0}
START, HISTORY_H, WARM_H, JUDGED_H = "2026-03-01T00", 72, 168, 168
SEED, TASK = 7, "click"
USERS, ITEMS, SLATES_AN_HOUR, SLATE = 300, 400, 100, 10
BASE, TASTE_STD, APPEAL_STD, POSITION = -2.0, 1.0, 0.7, -0.1
BUYING_BASE, BUYING_APPEAL_STD = -1.5, 0.7  # logit of a purchase of what was clicked: base + the taste once more + an appeal of its own
LIMIT, CANDIDATES = "Bayes filter", "candidates.parquet"
TOPICS = {
    "gardening": "soil seeds roses hedge compost", "sailing": "yacht harbour mast tide regatta", "baking": "bread dough oven cake flour",
    "cycling": "bicycle peloton gears saddle climb", "astronomy": "telescope planet comet galaxy orbit",
    "chess": "gambit rook endgame checkmate opening", "jazz": "saxophone trumpet swing improvisation quartet",
    "volcanoes": "lava crater eruption magma ash",
}  # fmt: skip
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """``topics``: names of TOPICS; ``history_h``: hours of clicks before the first slate; ``buys``: some of what is clicked is bought."""

    speed: str
    seed: int
    topics: Sequence[str] = tuple(TOPICS)
    history_h: int = HISTORY_H
    buys: bool = False

    @property
    def domain(self) -> str:
        return "ecommerce" if self.buys else "video"


@dataclass
class Process:
    """Ornstein-Uhlenbeck values with a fixed spread; ``step`` goes on by an hour."""

    values: Floats
    std: float
    keep: float

    @classmethod
    def begin(cls, rng: np.random.Generator, shape: tuple[int, ...], std: float, half_life_h: float) -> "Process":
        return cls(rng.normal(0, std, shape), std, float(2 ** (-1 / half_life_h)))

    def step(self, rng: np.random.Generator) -> None:
        noise = rng.normal(0, self.std, self.values.shape)
        self.values = self.keep * self.values + np.sqrt(1 - self.keep**2) * noise


class Filter:
    """Means and variances of tastes (U, topics) and appeals (N,), by the true parameters."""

    def __init__(self, keep: float, topics: int) -> None:
        self._keep = keep
        shapes = {"taste": ((USERS, topics), TASTE_STD), "appeal": ((ITEMS,), APPEAL_STD)}
        self._mean = {name: np.zeros(shape) for name, (shape, _) in shapes.items()}
        self._var = {name: np.full(shape, std**2) for name, (shape, std) in shapes.items()}
        self._std = {name: std for name, (_, std) in shapes.items()}

    def step(self) -> None:
        for name, std in self._std.items():
            self._mean[name] *= self._keep
            self._var[name] = self._keep**2 * self._var[name] + (1 - self._keep**2) * std**2

    def logits(self, user: NDArray[np.int64], topic: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
        """The predictive probability at the topmost position as log odds, by MacKay's approximation (1992)."""
        mean = BASE + self._mean["taste"][user, topic] + self._mean["appeal"][item]
        return np.asarray(mean / np.sqrt(1 + np.pi / 8 * (self._var["taste"][user, topic] + self._var["appeal"][item])))

    def learn(self, user: int, topic: int, item: int, position: int, click: float) -> None:
        """One Newton step on both; what they share is left out (assumed density)."""
        places = (("taste", (user, topic)), ("appeal", (item,)))
        mean = BASE + POSITION * position + sum(self._mean[name][place] for name, place in places)
        spread = sum(self._var[name][place] for name, place in places)
        p = 1 / (1 + np.exp(-mean))
        shared = 1 + p * (1 - p) * spread
        for name, place in places:
            variance = self._var[name][place]
            self._mean[name][place] += variance * (click - p) / shared
            self._var[name][place] = variance - variance**2 * p * (1 - p) / shared


def landed(settings: Settings, world: World) -> dict[str, float]:
    """Writes the stream as landing files; the filter's log odds by ``<request> <item>``, each before its hour was learned."""
    rng, names = np.random.default_rng(world.seed), list(world.topics)
    topic = rng.integers(0, len(names), ITEMS)
    taste = Process.begin(rng, (USERS, len(names)), TASTE_STD, HALF_LIFE_H[world.speed])
    appeal = Process.begin(rng, (ITEMS,), APPEAL_STD, HALF_LIFE_H[world.speed])
    known, limit = Filter(taste.keep, len(names)), {}
    buying = np.random.default_rng([world.seed, 1])  # its own, so that the clicks are those of the same world without purchases
    buying_appeal = buying.normal(0, BUYING_APPEAL_STD, ITEMS)
    words = [rng.choice(TOPICS[names[t]].split(), 3, replace=False) for t in topic]
    published = (parse_hour(START) - timedelta(hours=world.history_h + 1)).isoformat()
    _write(settings, "items", "items", (
        {"item_id": f"i{n}", "title": " ".join(words[n]), "tags": [names[topic[n]]], "published_at": published} for n in range(ITEMS)
    ))  # fmt: skip
    shown, clicked = [], []
    for number in range(-world.history_h, WARM_H + JUDGED_H):
        hour = shift(START, number)
        user = np.repeat(rng.integers(0, USERS, SLATES_AN_HOUR), SLATE)
        item = np.concatenate([rng.choice(ITEMS, SLATE, replace=False) for _ in range(SLATES_AN_HOUR)])
        position = np.tile(np.arange(SLATE), SLATES_AN_HOUR)
        logit = BASE + taste.values[user, topic[item]] + appeal.values[item] + POSITION * position
        click = rng.random(len(logit)) < 1 / (1 + np.exp(-logit))
        predicted = known.logits(user, topic[item], item)
        for row in range(len(logit)):
            request = f"r{number + world.history_h}-{row // SLATE}"
            at = parse_hour(hour) + timedelta(seconds=int(row // SLATE) * 30 + 1)
            about = {"request_id": request, "user_id": f"u{user[row]}", "item_id": f"i{item[row]}"}
            if number > 0:
                shown.append(about | {"slate_id": request, "position": int(position[row]), "ts": at.isoformat(), "surface": "home"})
                limit[f"{request} i{item[row]}"] = float(predicted[row])
            if click[row]:
                clicked.append(about | {"type": "click", "ts": (at + timedelta(seconds=5)).isoformat()})
            if click[row] and world.buys:
                worth = BUYING_BASE + taste.values[user[row], topic[item[row]]] + buying_appeal[item[row]]
                if buying.random() < 1 / (1 + np.exp(-worth)):
                    clicked.append(about | {"type": "purchase", "ts": (at + timedelta(seconds=20)).isoformat()})
            known.learn(user[row], topic[item[row]], item[row], position[row], float(click[row]))
        for process in (taste, appeal):
            process.step(rng)
        known.step()
    _write(settings, "impressions", "shown", iter(shown))
    _write(settings, "feedback", "clicks", iter(clicked))
    return limit


def _write(settings: Settings, kind: str, name: str, records: Iterator[dict]) -> None:
    path = settings.landing / kind / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")


def prepared(home: Path, world: World, judged_from: int = WARM_H) -> tuple[Settings, dict[str, float]]:
    """A root with the tables of the stream, its slates from this hour on in ``home / CANDIDATES``, and the filter's log odds."""
    (home / "recloop.yaml").write_text(f"domain: {world.domain}\nseed: {world.seed}\nlake: {{start_hour: {START}, now: loop}}\n")
    settings = load_settings(home, {})
    limit, last = landed(settings, world), shift(START, WARM_H + JUDGED_H - 1)
    try:
        ensure_spark(settings)
        build_features.run(settings, last, at_most=WARM_H + JUDGED_H)
    finally:
        down(settings)
    shown = shown_candidates(settings, settings.reward.tasks)
    pq.write_table(shown.filter(pc.greater_equal(shown["ts"], parse_hour(shift(START, judged_from)))), home / CANDIDATES)
    return settings, limit


def judged(home: Path, world: World) -> Scored:
    """The arms and the filter on the slates of the judged week."""
    settings, limit = prepared(home, world)
    scored = evaluate(settings, home / CANDIDATES, home / "scored.parquet")[TASK]
    requests, items = (scored.table[name].to_pylist() for name in ("impression_id", "item"))
    filtered = [limit[f"{request} {item}"] for request, item in zip(requests, items, strict=True)]
    logits = {**scored.logits, LIMIT: np.array(filtered)}
    return Scored(scored.table, logits, scored.known_user, scored.known_item)


def workload(speed: str) -> str:
    return f"{SLATES_AN_HOUR} slates an hour, the second week judged, half-life of tastes and appeals {HALF_LIFE_H[speed]} h"


def main() -> None:
    for speed in sys.argv[1:] or HALF_LIFE_H:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            found = judged(Path(scratch), World(speed, SEED))
        write_gains(found, f"stream_{speed}", f"made-up stream, drift {speed}", {"frozen weights": ("1", 0.0)}, workload(speed))


if __name__ == "__main__":
    main()
