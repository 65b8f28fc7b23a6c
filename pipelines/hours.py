"""The loop hour: a half-open UTC hour [start, end), written ``2026-11-23T20``, the one key from raw event to scored row."""

from datetime import UTC, datetime, timedelta

from pipelines.errors import UserError

HOUR_FORMAT = "%Y-%m-%dT%H"


class HourError(UserError, ValueError):
    """An hour that cannot be used; the text says what was found, expected and what to do."""


def parse_hour(text: str) -> datetime:
    """Start of the hour, UTC-aware. Raises HourError unless the text is exactly ``YYYY-MM-DDTHH``."""
    try:
        start = datetime.strptime(text, HOUR_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        start = None
    if start is None or start.strftime(HOUR_FORMAT) != text:
        raise HourError(f"not an hour: {text!r}; expected UTC as YYYY-MM-DDTHH, for example 2026-11-23T20")
    return start


def hour_of(ts: datetime) -> str:
    """The hour that holds this UTC-aware instant."""
    return ts.astimezone(UTC).strftime(HOUR_FORMAT)


def shift(hour: str, by: int) -> str:
    """The hour ``by`` hours later (earlier when negative)."""
    return (parse_hour(hour) + timedelta(hours=by)).strftime(HOUR_FORMAT)


def hour_range(first: str, last: str) -> list[str]:
    """All hours from first to last, both included; empty when last is before first."""
    start, count = parse_hour(first), hours_between(first, last) + 1
    return [(start + timedelta(hours=i)).strftime(HOUR_FORMAT) for i in range(max(count, 0))]


def hours_between(first: str, last: str) -> int:
    """Hours from the start of ``first`` to the start of ``last``; negative when last is earlier."""
    return int((parse_hour(last) - parse_hour(first)).total_seconds() // 3600)


def end_of(hour: str) -> datetime:
    """The first instant after the hour: what the loop calls *now* while it works on that hour."""
    return parse_hour(hour) + timedelta(hours=1)


def hour_number(hour: str) -> int:
    """Hours since 1970-01-01T00, the counter that seeds the hour's draws."""
    return int(parse_hour(hour).timestamp() // 3600)
