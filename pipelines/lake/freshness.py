"""How old tables are: hours from the end of the newest hour that is in a table to now."""

from pipelines.clock import now
from pipelines.hours import end_of
from pipelines.lake import ledger
from pipelines.lake.ledger import DONE
from pipelines.lake.made_by import MADE_BY
from pipelines.lake.metrics import Metric
from pipelines.lake.tables import opened, table_exists
from pipelines.settings import Settings

FRESHNESS = "freshness_h"
EVENTS = ("impressions", "feedback")  # a step that finds none of them finishes all the same, and hides that nothing arrives any more


def table_freshness(settings: Settings, hour: str) -> list[Metric]:
    """Age of every table that an hour writes, as of the work on ``hour``; nothing of a table that was never written.

    A table is as new as the newest hour that its step has finished; tables of events as the newest hour that holds any.
    """
    at = now(settings, hour)
    ages = {table: (at - end_of(newest)).total_seconds() / 3600 for table, newest in newest_hours(settings).items()}
    return [Metric(FRESHNESS, table, round(max(0.0, age), 2)) for table, age in ages.items()]


def newest_hours(settings: Settings) -> dict[str, str]:
    """By table the newest hour that is in it."""
    finished: dict[str, str] = {}
    for row in ledger.rows(settings):
        if row.status in DONE:
            finished[row.step] = max(row.hour, finished.get(row.step, ""))
    found = {table: finished[step] for table, step in MADE_BY.items() if step in finished}
    for table in EVENTS:
        found.pop(table, None)
        if held := _partitions(settings, table):
            found[table] = max(held)
    return found


def newest_attempted(settings: Settings) -> str | None:
    """The newest hour that any step of the loop has tried; None in an empty root."""
    steps = set(MADE_BY.values())
    return max((row.hour for row in ledger.rows(settings) if row.step in steps), default=None)


def _partitions(settings: Settings, table: str) -> list[str]:
    """Hours that hold rows; files that a killed step left are rows of an hour that arrived all the same."""
    return [part["hour"] for part in opened(settings, table).partitions()] if table_exists(settings, table) else []
