"""What "now" is: the wall clock in production, the end of the loop hour in demos and replays."""

from datetime import UTC, datetime, timedelta

from pipelines.errors import UserError
from pipelines.hours import end_of, parse_hour
from pipelines.settings import Settings


def now(settings: Settings, hour: str) -> datetime:
    """The instant at which work on ``hour`` happens: its end where ``lake.now`` is ``loop``, else the wall clock."""
    return end_of(hour) if settings.lake.now == "loop" else wall_clock()


def wall_clock() -> datetime:
    """The machine's clock, UTC-aware; for records of when something really ran, never for decisions about data."""
    return datetime.now(UTC)


def check_hour(settings: Settings, hour: str) -> None:
    """Raises UserError for an hour that is not one, has not ended, or lies before the root's first hour."""
    parse_hour(hour)
    if end_of(hour) > wall_clock():
        last = (wall_clock() - timedelta(hours=1)).strftime("%Y-%m-%dT%H")
        raise UserError(f"hour {hour} has not ended; the newest hour that can be processed is {last}")
    start = settings.lake.start_hour
    if start is None:
        raise UserError("lake.start_hour is not set; run `recloop demo-data movielens`, or set it in recloop.yaml")
    if hour < start:
        raise UserError(f"hour {hour} lies before lake.start_hour {start}; choose {start} or a later hour")
