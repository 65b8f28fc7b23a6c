"""Cells as text, number, yes and no."""

from datetime import datetime
from decimal import Decimal

import pytest

from pipelines.importers.cells import cell, number, says_yes, text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), ("", None), (float("nan"), None), ("007", "007"), (7, "7"), (7.0, "7"), (7.5, "7.5"), (True, "true"),
        ([1, "ж"], '[1, "ж"]'), (b"abc", "abc"), (Decimal("1.50"), "1.50"), (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
        (" a ", " a "),
    ],
)  # fmt: skip
def test_text(value, expected):
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", 5), (" 5.50 ", 5.5), ("-3", -3), ("1e3", 1000.0), (".5", 0.5), ("", None), (None, None), (True, 1), (Decimal("2.5"), 2.5),
        ("1_000", "1_000"), ("٣", "٣"), ("1,5", "1,5"), ("many", "many"), ("1e400", "1e400"), ("NaN", "NaN"), (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"), ("0x10", "0x10"),
    ],
)  # fmt: skip
def test_number(value, expected):
    found = number(value)
    assert found == expected and type(found) is type(expected)


def test_a_decimal_comma_is_read_where_it_was_asked_for():
    assert number("12,50", ",") == 12.5
    assert number("1.234,50", ",") == "1.234,50"


@pytest.mark.parametrize("value", [1, 0.5, "1", "0.01", True, "true", "Yes", "x", "2026-11-23T20:00:00Z", "✓"])
def test_what_says_yes(value):
    assert says_yes(value)


@pytest.mark.parametrize("value", [None, "", 0, 0.0, -1, "-2", "0", "0.0", False, "False", "no", "N", " null ", "None", float("nan")])
def test_what_says_no(value):
    assert not says_yes(value)


def test_a_column_may_lie_inside_an_object_and_a_whole_name_comes_first():
    row = {"user": {"id": 7, "geo": {"city": "Łódź"}}, "a.b": 1, "a": {"b": 2}}
    found = {name: cell(row, name) for name in ("user.id", "user.geo.city", "a.b", "user.name", "user.id.x", "z")}
    assert found == {"user.id": 7, "user.geo.city": "Łódź", "a.b": 1, "user.name": None, "user.id.x": None, "z": None}
