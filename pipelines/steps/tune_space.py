"""What ``tune_ranker`` varies, and the hours that it tries settings on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.settings import Settings
from pipelines.steps.example_batches import ExampleReader

if TYPE_CHECKING:
    from optuna import Trial

Values = Mapping[str, float]

SPACE: Mapping[str, tuple[float, float]] = {
    "bootstrap_lr": (3e-4, 1e-2), "lr": (3e-5, 3e-3), "batch_size": (128, 2048), "replay_ratio": (0.25, 8.0), "dim": (8, 64),
    "hidden": (16, 256),
}  # fmt: skip
WHOLE = ("batch_size", "dim", "hidden")
LEAST_HOURS, CONFIRM_SHARE = 4, 4


@dataclass(frozen=True)
class TuneHours:
    """``hours`` are walked: the first load, as many hours of run-up as are judged, then those. ``choosing`` ones pick the settings.

    ``confirming``: the last quarter of the judged hours, which picked nothing, so that the gain on them is not the luck of the best.
    """

    hours: Sequence[str]
    choosing: Sequence[str]
    confirming: Sequence[str]

    @property
    def until_chosen(self) -> Sequence[str]:
        return [hour for hour in self.hours if hour <= self.choosing[-1]]


def tune_hours(known: Sequence[str], count: int) -> TuneHours:
    """Of hours that may teach, in order. Raises UserError where there are too few after the first load."""
    live = known[1:]
    if len(live) < LEAST_HOURS:
        raise UserError(f"tuning needs at least {LEAST_HOURS} hours with examples after the first load, found {len(live)}; run more hours")
    judged = live[-count:]
    confirmed = max(1, len(judged) // CONFIRM_SHARE)
    return TuneHours([known[0], *live[-2 * count :]], judged[:-confirmed], judged[-confirmed:])


def present(settings: Settings) -> Values:
    return {name: getattr(settings.ranker, name) for name in SPACE}


def suggest(trial: "Trial", settings: Settings) -> Values:
    """The trial's values, on log scales; the range holds the present value, unless that is 0."""
    found: dict[str, float] = {}
    for name, (low, high) in SPACE.items():
        now = getattr(settings.ranker, name) or low
        if name in WHOLE:
            found[name] = trial.suggest_int(name, int(min(low, now)), int(max(high, now)), log=True)
        else:
            found[name] = trial.suggest_float(name, min(low, now), max(high, now), log=True)
    return found


def with_values(reader: ExampleReader, values: Values) -> ExampleReader:
    """The same examples, learned with these settings."""
    ranker = reader.settings.ranker.model_copy(update=dict(values))
    return replace(reader, settings=reader.settings.model_copy(update={"ranker": ranker}))
