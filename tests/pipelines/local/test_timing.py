"""Where an hour goes, from a ledger written by hand."""

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.local.screen import print_timing
from pipelines.local.timing import BEFORE, OUTSIDE, read_timing

START = "2026-11-10T08"
NEXT, THIRD = shift(START, 1), shift(START, 2)


@pytest.fixture
def ran(make_root, ledger_row):
    """Writes an attempt that began and ended so many seconds after its hour."""
    settings = make_root().settings

    def write(step, hour, began, ended, status="done", **seconds):
        times = {"started_at": end_of(hour) + timedelta(seconds=began), "ended_at": end_of(hour) + timedelta(seconds=ended)}
        ledger.write_rows(settings, [replace(ledger_row(step, hour, status=status), seconds=seconds, **times)])

    return settings, write


def test_stages_gaps_and_medians_by_hand(ran):
    settings, write = ran
    for hour, slower in ((START, 0), (NEXT, 4)):
        write("ingest", hour, 0, 10, parse=6.0, write=3.0)
        write("score_users", hour, 12, 20, draw=8.0)
        write("finetune_ranker", hour, 12, 30 + slower, learn=15.0 + slower)
        write("promote_models", hour, 33 + slower, 35 + slower, decide=1.5)
        write("monitor_hour", hour, 36 + slower, 90, look=50.0)
    write("ingest", THIRD, 0, 100, parse=99.0)
    timing = read_timing(settings)
    assert (timing.hour, timing.seconds, timing.median_s, timing.hours) == (NEXT, 39.0, 37.0, 2), "the third hour has no decision yet"
    found = {(time.step, time.stage): (time.newest_s, time.median_s) for time in timing.stages}
    assert found == {
        ("ingest", "parse"): (6, 6), ("ingest", "write"): (3, 3), ("ingest", OUTSIDE): (1, 1),
        ("score_users", BEFORE): (2, 2), ("score_users", "draw"): (8, 8), ("score_users", OUTSIDE): (0, 0),
        ("finetune_ranker", "learn"): (19, 17), ("finetune_ranker", OUTSIDE): (3, 3),
        ("promote_models", BEFORE): (3, 3), ("promote_models", "decide"): (1.5, 1.5), ("promote_models", OUTSIDE): (0.5, 0.5),
    }  # fmt: skip
    screen = io.StringIO()
    print_timing(Console(file=screen, width=120), timing)
    assert "hour 2026-11-10T09: 39.0 s from its first step to its release decision; median of 2 hours 37.0 s" in screen.getvalue()


def test_a_failed_attempt_and_a_later_rerun_are_not_the_hours_own(ran):
    settings, write = ran
    write("ingest", START, 0, 5, "failed", parse=1.0)
    write("ingest", START, 10, 15, parse=2.0)
    write("promote_models", START, 16, 17)
    write("ingest", START, 500, 505, "unchanged", parse=9.0)
    timing = read_timing(settings)
    assert timing.seconds == 7 and ("ingest", "parse", 2.0) in {(time.step, time.stage, time.newest_s) for time in timing.stages}


def test_without_a_decision_there_is_no_hour_to_tell_of(ran):
    settings, write = ran
    assert read_timing(settings) is None
    write("ingest", START, 0, 5, parse=1.0)
    assert read_timing(settings) is None
