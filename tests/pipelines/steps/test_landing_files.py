"""Which hours a pass over landing files has: those that were frozen together stay together."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.hours import shift
from pipelines.lake.ledger import LedgerRow, write_rows
from pipelines.steps.landing_files import frozen_range

START = "2026-11-10T08"
HOURS = [shift(START, number) for number in range(5)]


@pytest.fixture
def freeze(settings):
    def write(*hours, status="frozen"):
        at = datetime(2026, 11, 10, 20, tzinfo=UTC) + timedelta(minutes=int(hours[0][-2:]))
        write_rows(settings, [LedgerRow(hour, "ingest", status, "code", at, at) for hour in hours])

    return write


def test_what_nobody_froze_is_as_long_as_what_is_pending(settings):
    assert frozen_range(settings, HOURS[:3]) == HOURS[:3]


@pytest.mark.parametrize("pending", [HOURS[1:], HOURS[1:2], HOURS[2:3]], ids=["more", "the first", "the second"])
def test_of_hours_that_were_frozen_together_none_runs_alone(settings, freeze, pending):
    freeze(HOURS[0])
    freeze(*HOURS[1:3])
    freeze(HOURS[3])
    assert frozen_range(settings, pending) == HOURS[1:3]


def test_hours_that_were_given_back_are_pending_again(settings, freeze):
    freeze(*HOURS[1:3])
    freeze(*HOURS[1:3], status="released")
    assert frozen_range(settings, HOURS[1:2]) == HOURS[1:2]
