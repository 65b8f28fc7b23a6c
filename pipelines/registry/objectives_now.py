"""The objectives as they stand now, also while the loop stands still: ages by the clock, the rest by the newest hour that was looked at."""

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.freshness import FRESHNESS, newest_attempted, table_freshness
from pipelines.lake.metrics import read_metrics
from pipelines.registry.alerts import Judged, alert_of, judge_objectives
from pipelines.settings import Settings

MONITOR = "monitor_hour"  # the step that writes the figures


def objectives_now(settings: Settings) -> list[Judged]:
    """Nothing for a root that no hour has written yet."""
    attempted = newest_attempted(settings)
    if attempted is None:
        return []
    done = [row.hour for row in ledger.rows(settings, MONITOR) if row.status == "done"]
    measured = read_metrics(settings, max(done)) if done else []
    figures = [*table_freshness(settings, attempted), *(metric for metric in measured if metric.name != FRESHNESS)]
    return judge_objectives(figures, settings.objectives)


def check_objectives(settings: Settings) -> str:
    """Answers in words that all hold. Raises UserError, a line for each that is broken."""
    judged = objectives_now(settings)
    if broken := [alert_of(one).text for one in judged if one.broken]:
        raise UserError("\n".join(broken))
    return f"{len(judged)} objectives hold" if judged else "no hour has run yet: nothing to compare"
