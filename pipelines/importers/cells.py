"""One cell of a row as text, number or yes and no, whatever the file's format made of it."""

import json
import math
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
NO = frozenset({"", "0", "f", "false", "n", "no", "nan", "none", "null"})


def cell(row: Row, column: str) -> Any:
    """The row's value there; ``a.b`` is the key b of the object a, where no column has the whole name. None: not there."""
    if column in row:
        return row[column]
    found: Any = row
    for part in column.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def text(value: Any) -> str | None:
    """The value as text, None where it is empty; a whole number has no decimal point, a list or an object is JSON."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if isinstance(value, date) else str(value)


def number(value: Any, decimal: str = ".") -> int | float | str | None:
    """The value as a number, None where it is empty; what is no finite number comes back as the text that it is."""
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Decimal):
        found = float(value)
        return found if math.isfinite(found) else _not_finite(found)
    written = text(value)
    if written is None:
        return None
    plain = written.strip().replace(",", ".") if decimal == "," else written.strip()
    if _INTEGER.fullmatch(plain):
        return int(plain)
    if _NUMBER.fullmatch(plain) and math.isfinite(found := float(plain)):
        return found
    return written


def says_yes(value: Any) -> bool:
    """Whether a cell that may be a flag, a count, a time or a word is filled in: true, above 0, or any text but NO."""
    found = number(value)
    if isinstance(found, str):
        return found.strip().lower() not in NO
    return found is not None and found > 0


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
