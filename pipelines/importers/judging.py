"""What ingest will refuse, known before anything is written: the rules of ``spark_jobs.parsing``, without Spark."""

import math
import re
from datetime import datetime

from pipelines.importers.records import FLAGS
from pipelines.local.landing import Record
from spark_jobs.contracts import REACTIONS

REQUIRED = {
    "impressions": ("user_id", "item_id", "position", "ts"),
    "feedback": ("user_id", "item_id", "ts", "type"),
    "items": ("item_id", "title"),
}
DOUBLES = ("propensity", "value", "price")
TIMES = ("ts", "published_at")
_OFFSET = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})$")
_DOUBLE = re.compile(r"[0-9.e+-]+|[+-]?inf(inity)?|nan", re.IGNORECASE)
_LARGEST_INT = 2**31 - 1


def reason_of(kind: str, record: Record, line_bytes: int, latest: datetime, max_bytes: int) -> str | None:
    """The first reason for which ingest refuses the record; None: it is valid.

    ``line_bytes``: length of its line without the end of line. ``latest``: the first instant that lies in the future.
    ``bad_json`` can only be what stands in a list of numbers, and ``duplicate_conflict`` needs the other events: only ingest finds it.
    """
    if line_bytes > max_bytes:
        return "oversized"
    if not all(isinstance(part, int | float) for part in record.get("image_vector", ())):
        return "bad_json"
    if any(not str(record.get(name, "")).strip(" ") for name in REQUIRED[kind]):
        return "missing_key"
    if any(_of_wrong_type(name, record[name]) for name in record):
        return "wrong_type"
    if kind == "feedback" and record["type"] not in REACTIONS:
        return "unknown_reaction"
    numbers = {name: _double(record[name]) for name in DOUBLES if name in record}
    if not all(map(math.isfinite, numbers.values())):
        return "non_finite"
    if min(*numbers.values(), record.get("position", 0), 0) < 0 or not 0 < numbers.get("propensity", 1) <= 1:
        return "negative_value"
    return "from_future" if "ts" in record and instant(record["ts"]) >= latest else None


def instant(ts: str) -> datetime:
    """The instant of a time with an offset. Raises ValueError for any other text."""
    if not _OFFSET.search(ts):
        raise ValueError(f"no offset: {ts}")
    return datetime.fromisoformat(ts)


def _of_wrong_type(name: str, value: object) -> bool:
    try:
        if name in TIMES:
            instant(str(value))
        elif name in DOUBLES:
            _double(value)
    except ValueError:
        return True
    if name == "available":
        return str(value).lower() not in FLAGS
    return name == "position" and not (isinstance(value, int) and abs(value) <= _LARGEST_INT)


def _double(value: object) -> float:
    """As Spark reads a number: Python's other ways of writing one (underscores, other digits) are none."""
    written = str(value).strip()
    if not _DOUBLE.fullmatch(written):
        raise ValueError(f"no number: {written}")
    return float(written)
