"""Landing records of what was shown and of how users reacted: clicks, watching, ratings that may come hours later."""

import numpy as np
from numpy.typing import NDArray

from models.hashing import uniform
from pipelines.hours import hour_number
from pipelines.local.landing import Record, event_id, iso
from pipelines.local.reactions import position_effect, rating_probability, sigmoid, stars, watched_share
from pipelines.local.showing import Shown
from pipelines.local.world import World

RATING_DELAY_H = 3
_CLICK, _WATCH, _RATE, _STARS, _DELAY, _READ = range(41, 47)


def impression_records(shown: Shown, surface: str) -> list[Record]:
    columns = zip(shown.request_ids, shown.slate_ids, shown.users, shown.items, shown.positions.tolist(), iso(shown.times), strict=True)
    return [
        {
            "event_id": event_id("impression", request, position),
            "request_id": request,
            "slate_id": slate,
            "user_id": user,
            "item_id": item,
            "position": position,
            "ts": ts,
            "surface": surface,
            "context": {"device": "simulated"},
        }
        for request, slate, user, item, position, ts in columns
    ]


def react(world: World, shown: Shown, hour: str) -> list[Record]:
    """Clicks with their watching, and ratings up to RATING_DELAY_H later, each with its own time."""
    seed, now = world.seed, hour_number(hour)
    chance = sigmoid(shown.affinity + position_effect(shown.positions))
    row = np.flatnonzero(uniform(seed, _CLICK, shown.noise, now) < chance)
    noise, mood = shown.noise[row], world.mood(shown.affinity[row])
    clicked = shown.times[row] + 5 + 3 * shown.positions[row] + 20 * uniform(seed, _READ, noise, now)
    share = watched_share(mood, uniform(seed, _WATCH, noise, now))
    rates = uniform(seed, _RATE, noise, now) < rating_probability(mood)
    rated = clicked + 60 + uniform(seed, _DELAY, noise, now) * (RATING_DELAY_H * 3600 - 120)
    given = stars(mood, uniform(seed, _STARS, noise, now))
    return [
        *_reactions(shown, row, "click", clicked, None),
        *_reactions(shown, row, "watch", clicked + 30 + 400 * share, (share * shown.durations[row]).round(1)),
        *_reactions(shown, row[rates], "rating", rated[rates], given[rates]),
    ]


def _reactions(shown: Shown, rows: NDArray, kind: str, times: NDArray, values: NDArray | None) -> list[Record]:
    records: list[Record] = []
    for row, ts in zip(rows, iso(times), strict=True):
        request = shown.request_ids[row]
        key = event_id(kind, request, shown.positions[row])
        about = {"request_id": request, "user_id": shown.users[row], "item_id": shown.items[row]}
        records.append({"event_id": key, **about, "ts": ts, "type": kind})
    for record, value in zip(records, [] if values is None else values.tolist(), strict=values is not None):
        record["value"] = value
    return records
