"""The log as plain Python knows it: which record an hour takes, drops as a repeat or refuses, and what that adds up to."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pipelines.hours import end_of, hour_of, parse_hour

KINDS = ("impressions", "feedback")
CLICK_WINDOW_S = 3600.0
Event = dict[str, object]


@dataclass(frozen=True)
class Line:
    """A line of a landing file: an event, or bytes with the reason why they are none."""

    path: str
    number: int
    raw: bytes
    event: Event | None = None
    reason: str | None = None

    @property
    def hour(self) -> str:
        return hour_of(ts_of(self.event)) if self.event else ""


def ts_of(event: Event) -> datetime:
    return datetime.fromisoformat(str(event["ts"]))


@dataclass
class LogModel:
    """``taken``: by kind and event id the hour and the event; ``refused``: (hour, file, line, reason, bytes); ``open``: not taken yet."""

    taken: dict[str, dict[str, tuple[str, Event]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    open: dict[str, list[Line]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    refused: Counter[tuple[str, str, int, str, bytes]] = field(default_factory=Counter)
    credited: dict[str, list[str]] = field(default_factory=dict)

    def files(self) -> set[str]:
        return {line.path for lines in self.open.values() for line in lines}

    def take(self, hours: Sequence[str], files: set[str]) -> None:
        """What one pass over ``hours`` does with the open lines of these files: the first of an id counts, in order of file and line."""
        for kind in KINDS:
            own = sorted((line for line in self.open[kind] if line.path in files), key=lambda line: (line.path, line.number))
            later = [line for line in own if line.event and line.hour > hours[-1]]
            self.open[kind] = [line for line in self.open[kind] if line.path not in files] + later
            for line in own:
                if line.event is None:
                    self._refuse(hours[-1], line, str(line.reason))
                elif line not in later:
                    self._judge(kind, hours, line, line.event)
        self._credit(hours)

    def _judge(self, kind: str, hours: Sequence[str], line: Line, event: Event) -> None:
        name = str(event["event_id"])
        held = self.taken[kind].setdefault(name, (max(line.hour, hours[0]), event))
        if held[1] != event:
            self._refuse(hours[-1], line, "duplicate_conflict")

    def _refuse(self, hour: str, line: Line, reason: str) -> None:
        self.refused[hour, line.path, line.number, reason, line.raw] += 1

    def _credit(self, hours: Sequence[str]) -> None:
        """Clicks of these hours credit the showing of their request, else the latest one within an hour."""
        for hour, click in list(self.taken["feedback"].values()):
            if hour in hours and click["type"] == "click":
                shown = [e for h, e in self.taken["impressions"].values() if h <= hours[-1] and _may_credit(click, e)]
                if shown:
                    best = min(shown, key=lambda e: (e["request_id"] != click["request_id"], -ts_of(e).timestamp(), e["event_id"]))
                    self.credited.setdefault(str(best["event_id"]), []).append(hour)

    def examples(self, start: str) -> dict[str, tuple[float, float]]:
        """By impression the click label when it was shown, and the last one."""
        found = {}
        for name, (hour, _) in self.taken["impressions"].items():
            if hour > start:
                clicked = self.credited.get(name, [])
                found[name] = (float(hour in clicked), float(bool(clicked)))
        return found

    def counter(self, key: str, kind: str, half_life_h: int) -> dict[tuple[str, str], float]:
        """By (id, hour): how many events of a kind, each halved once a half-life until the hour's end."""
        found: dict[tuple[str, str], float] = {}
        for events in self.taken.values():
            for hour, event in events.values():
                amount = float(event.get("type", "impression") == kind)
                at = (str(event[key]), hour)
                age_h = (end_of(hour) - ts_of(event)).total_seconds() / 3600
                found[at] = found.get(at, 0.0) + amount * 0.5 ** (age_h / half_life_h)
        return found

    def folded(self, key: str, kind: str, half_life_h: int) -> dict[str, tuple[datetime, float]]:
        """By id: the end of the last hour that touched it, and the counter then."""
        found: dict[str, tuple[datetime, float]] = {}
        for (name, hour), amount in sorted(self.counter(key, kind, half_life_h).items(), key=lambda item: item[0][1]):
            before, value = found.get(name, (parse_hour(hour), 0.0))
            age_h = (end_of(hour) - before).total_seconds() / 3600
            found[name] = (end_of(hour), value * 0.5 ** (age_h / half_life_h) + amount)
        return found


def _may_credit(click: Event, shown: Event) -> bool:
    delay_s = (ts_of(click) - ts_of(shown)).total_seconds()
    return (click["user_id"], click["item_id"]) == (shown["user_id"], shown["item_id"]) and 0 <= delay_s <= CLICK_WINDOW_S


def as_bytes(event: Event) -> bytes:
    return json.dumps(event).encode()
