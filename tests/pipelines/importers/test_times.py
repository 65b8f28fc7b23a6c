"""Times by hand, by the rules of the German clock in 2026 (forward 29 March 01:00 UTC, back 25 October 01:00 UTC), and as a property."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.importers.times import to_utc

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("value", "time_format", "expected"),
    [
        ("2026-11-23T20:01:07.250+01:00", "iso", "2026-11-23T19:01:07.250000+00:00"),
        ("2026-11-23T20:01:07Z", "iso", "2026-11-23T20:01:07+00:00"),
        ("2026-11-23 20:01:07 ".strip(), "iso", "2026-11-23T19:01:07+00:00"),
        ("2026-11-23", "iso", "2026-11-22T23:00:00+00:00"),
        ("1700000000", "epoch_s", "2023-11-14T22:13:20+00:00"),
        (1700000000.25, "epoch_s", "2023-11-14T22:13:20.250000+00:00"),
        ("1700000000123", "epoch_ms", "2023-11-14T22:13:20.123000+00:00"),
        (1700000000123456, "epoch_us", "2023-11-14T22:13:20.123456+00:00"),
        ("-1", "epoch_s", "1969-12-31T23:59:59+00:00"),
        ("23.11.2026 20:01", "%d.%m.%Y %H:%M", "2026-11-23T19:01:00+00:00"),
        ("11/23/2026 08:01 PM -0500", "%m/%d/%Y %I:%M %p %z", "2026-11-24T01:01:00+00:00"),
        (datetime(2026, 7, 1, 12), "epoch_s", "2026-07-01T10:00:00+00:00"),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), "iso", "2026-07-01T12:00:00+00:00"),
        (date(2026, 7, 1), "iso", "2026-06-30T22:00:00+00:00"),
    ],
)
def test_each_format_of_time_becomes_utc(value, time_format, expected):
    assert to_utc(value, time_format, BERLIN) == expected


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2026-03-29T01:59:59", "2026-03-29T00:59:59+00:00"),
        ("2026-03-29T02:30:00", "2026-03-29T01:30:00+00:00"),  # was never on the clock: an hour after 01:30
        ("2026-03-29T03:00:00", "2026-03-29T01:00:00+00:00"),
        ("2026-10-25T01:59:59", "2026-10-24T23:59:59+00:00"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00+00:00"),  # twice on the clock: the earlier one
        ("2026-10-25T03:00:00", "2026-10-25T02:00:00+00:00"),
    ],
)
def test_where_the_clock_is_changed(local, expected):
    assert to_utc(local, "iso", BERLIN) == expected


@pytest.mark.parametrize(
    ("value", "time_format"),
    [("yesterday", "iso"), ("1700000000000", "iso"), ("1711012312000", "iso"), ("2026-02-30T00:00:00Z", "iso"), ("soon", "epoch_s"),
     ("1e300", "epoch_ms"), ("2026-11-23", "%d.%m.%Y")],
)  # fmt: skip
def test_what_cannot_be_read_stays_as_it_is(value, time_format):
    assert to_utc(value, time_format, BERLIN) == value


def test_a_time_with_neither_offset_nor_zone_stays_without():
    assert to_utc("2026-11-23T20:01:07", "iso", None) == "2026-11-23T20:01:07"
    assert to_utc("", "iso", None) is None and to_utc(None, "epoch_s", None) is None


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_the_instant_is_kept_however_it_is_written(naive, minutes):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = moment.astimezone(UTC)
    microseconds = (expected - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    for value, time_format in ((moment.isoformat(), "iso"), (microseconds, "epoch_us"), (str(microseconds), "epoch_us"), (moment, "iso")):
        found = to_utc(value, time_format, BERLIN)
        assert found.endswith("+00:00") and datetime.fromisoformat(found) == expected
