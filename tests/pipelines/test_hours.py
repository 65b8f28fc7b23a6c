"""The loop hour: one spelling, half-open, UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.hours import HourError, end_of, hour_number, hour_of, hour_range, hours_between, parse_hour, shift

instants = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@given(instants)
def test_an_instant_lies_in_its_hour_and_in_no_other(instant):
    hour = hour_of(instant)
    assert parse_hour(hour) <= instant < end_of(hour)
    assert hour_of(end_of(hour)) == shift(hour, 1) != hour


@given(instants, st.integers(-2000, 2000))
def test_shifting_is_counted_by_hours_between_and_hour_numbers(instant, by):
    hour = hour_of(instant)
    assert hours_between(hour, shift(hour, by)) == by == hour_number(shift(hour, by)) - hour_number(hour)
    assert shift(shift(hour, by), -by) == hour


@given(instants, st.integers(-3, 60))
def test_a_range_holds_both_ends_in_order(instant, length):
    first = hour_of(instant)
    found = hour_range(first, shift(first, length - 1))
    assert found == [shift(first, by) for by in range(length)] == sorted(found)


@pytest.mark.parametrize(
    "text", ["2026-11-23", "2026-11-23T24", "2026-11-23T5", "2026-11-23T05:00", " 2026-11-23T05", "2026-02-29T00", "now", ""]
)
def test_any_other_spelling_is_refused_with_an_example(text):
    with pytest.raises(HourError, match="expected UTC as YYYY-MM-DDTHH, for example"):
        parse_hour(text)


def test_hours_are_of_utc_whatever_the_offset_and_know_leap_days():
    new_york = timezone(timedelta(hours=-5))
    assert hour_of(datetime(2026, 11, 23, 20, 59, 59, 999_999, tzinfo=new_york)) == "2026-11-24T01"
    assert shift("2028-02-28T23", 1) == "2028-02-29T00"
    assert hour_number("1970-01-02T01") == 25
