"""Objectives that are broken: figures in, sentences out, and a webhook that is told once when one breaks and once when it holds again."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException

from pipelines.lake.freshness import FRESHNESS
from pipelines.lake.metrics import Metric
from pipelines.objectives import Objectives

TIMEOUT_S = 5.0
_EVENTS = "look whether producers still write landing files (docs/events.md)"
_STEP = "`recloop status` names the step that stopped, `recloop hour HOUR` runs it again"


@dataclass(frozen=True)
class Judged:
    """A figure beside its objective; ``objective`` names both, ``advice`` is what to do where it is broken."""

    objective: str
    found: float
    bound: float
    at_least: bool
    unit: str
    advice: str

    @property
    def broken(self) -> bool:
        return self.found < self.bound if self.at_least else self.found > self.bound

    @property
    def state(self) -> str:
        """What was found and what is wanted, in words."""
        return f"{self.objective} is {self.spoken(self.found)}, objective {self.wanted}"

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.spoken(self.bound)}"

    def spoken(self, value: float) -> str:
        return f"{value:.1%}" if self.unit == "%" else f"{value:.3g}{self.unit}"


@dataclass(frozen=True)
class Alert:
    """One sentence on an objective that is broken, or holds again."""

    objective: str
    broken: bool
    found: float
    bound: float
    text: str


def judge_objectives(figures: Sequence[Metric], objectives: Objectives) -> list[Judged]:
    """Every figure that there is an objective for."""
    return [judged for figure in figures for judged in _judged(figure, objectives)]


def broken_objectives(figures: Sequence[Metric], objectives: Objectives) -> list[Alert]:
    """One sentence for each objective that is broken: what was found, what is wanted, what to do."""
    return [alert_of(judged) for judged in judge_objectives(figures, objectives) if judged.broken]


def alert_of(judged: Judged) -> Alert:
    text = f"{judged.state}: {judged.advice}" if judged.broken else f"{judged.state}: it holds again"
    return Alert(judged.objective, judged.broken, judged.found, judged.bound, text)


def changes(judged: Sequence[Judged], told: Mapping[str, bool]) -> list[Alert]:
    """What is to be told: objectives that were not told to be as they are now. ``told``: whether broken, as last told."""
    return [alert_of(one) for one in judged if one.broken != told.get(one.objective, False)]


def post(url: str, hour: str, home: str, alerts: Sequence[Alert]) -> str | None:
    """Posts the alerts as one JSON and answers what went wrong, None where the other side took it. ``text`` is what chat services show."""
    content = {"text": "\n".join(alert.text for alert in alerts), "hour": hour, "root": home, "alerts": [asdict(one) for one in alerts]}
    headers = {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, json.dumps(content).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return None
    except (OSError, ValueError, HTTPException) as error:  # the address may hold a secret: nothing that repeats it is kept
        reason = f": {error.reason}" if isinstance(error, urllib.error.URLError) else ""
        return f"{type(error).__name__}{reason}"


def _judged(figure: Metric, objectives: Objectives) -> Iterator[Judged]:
    if figure.name == FRESHNESS:
        bound = objectives.freshness_h.get(figure.subject)
        advice = _EVENTS if figure.subject in ("impressions", "feedback", "items") else _STEP
        if bound is not None:
            yield Judged(f"age of {figure.subject}", figure.value, bound, False, " h", advice)
    elif figure.name in _RULES:
        bound, (at_least, unit, advice) = getattr(objectives, figure.name), _RULES[figure.name]
        if bound is not None:
            subject = f" ({figure.subject})" if figure.name == "share_of_fallbacks" else ""
            yield Judged(f"{figure.name.replace('_', ' ')}{subject}", figure.value, bound, at_least, unit, advice)


_RULES = {
    "share_of_fallbacks": (False, "%", "see whether feedback carries the ids of users that are scored, and whether user_features is fresh"),
    "coverage": (True, "%", "look at the business rules and at slates.explore_share, and at the last releases in `recloop report`"),
    "reward_a_slate": (True, "", "compare with the releases in `recloop report`; `recloop rollback --reason ...` puts the one before back"),
}  # fmt: skip
