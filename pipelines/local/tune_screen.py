"""What a search found, as lines for the terminal: what was tried, what it gains, and what to write into ``recloop.yaml``."""

from pipelines.settings import Settings
from pipelines.steps.tune_ranker import Tuned
from pipelines.steps.tune_space import WHOLE, present


def lines(settings: Settings, tuned: Tuned) -> list[str]:
    choosing, confirming = tuned.hours.choosing, tuned.hours.confirming
    counts = tuned.trials
    tried = f"{counts['complete']} trials finished, {counts['pruned']} stopped early, {counts['fail']} failed"
    chosen = f"AUC per user on {len(choosing)} hours from {choosing[0]} to {choosing[-1]}: best {tuned.chosen:.4f}"
    own = "" if tuned.chosen_present != tuned.chosen_present else f", present settings {tuned.chosen_present:.4f}"
    found = [tried, chosen + own]
    if present(settings) == tuned.best:
        return [*found, "nothing was better than the present settings"]
    if tuned.gain is None:
        return [*found, "the later hours cannot confirm it: nobody there has both classes", *snippet(tuned)]
    gain = tuned.gain
    on = f"{len(confirming)} later hours that chose nothing, {gain.n:,} users"
    found.append(f"gain on {on}: {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]")
    if gain.low <= 0:
        return [*found, "that gain is not shown: keep the present settings, or try on more hours. The best were:", *snippet(tuned)]
    when = "dim and hidden count from a bootstrap on, bootstrap_lr from the next retrain, the others at once"
    return [*found, f"for recloop.yaml ({when}):", *snippet(tuned)]


def snippet(tuned: Tuned) -> list[str]:
    """YAML of the settings that ``tune`` varies."""
    return ["ranker:", *[f"  {name}: {int(value) if name in WHOLE else float(f'{value:.3g}')}" for name, value in tuned.best.items()]]
