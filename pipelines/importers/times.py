"""Times as a log writes them, to ISO 8601 in UTC."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.importers.cells import number, text

_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
FORMATS = ("iso", *_MICROSECONDS)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_utc(value: Any, time_format: str, timezone: str | None) -> str | None:
    """The instant as ISO 8601 with offset +00:00, None where the cell is empty.

    ``timezone`` holds for times without an offset. Where clocks go back, the earlier of the two instants is meant; a time that
    the clock jumped over is read by the offset before the jump. What cannot be read, and what has neither offset nor zone,
    comes back as the text that it is: ingest refuses it.
    """
    written = text(value)
    if written is None:
        return None
    try:
        found = _instant(value, written, time_format)
        if found.tzinfo is None and timezone is None:
            return written
        aware = found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(str(timezone)))
        return aware.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return written


def _instant(value: Any, written: str, time_format: str) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if time_format in _MICROSECONDS:
        count = number(value)
        if not isinstance(count, int | float):
            raise ValueError(f"no number: {written}")
        return _EPOCH + timedelta(microseconds=round(count * _MICROSECONDS[time_format]))
    if time_format != "iso":
        return datetime.strptime(written.strip(), time_format)
    if written.strip()[4:5] != "-":  # fromisoformat reads 13 digits as a time of the year 1711
        raise ValueError(f"no ISO 8601 with dashes: {written}")
    return datetime.fromisoformat(written.strip())
