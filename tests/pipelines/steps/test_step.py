"""The frame of a step: one writer at a root, a row for whatever happened, and an order that no clock can turn around."""

from datetime import timedelta

import pytest
from filelock import FileLock

from pipelines.clock import wall_clock
from pipelines.errors import TransientError
from pipelines.lake import ledger
from pipelines.lake.ledger import LandingFile
from pipelines.steps import step
from pipelines.steps.step import attempt, writer_lock

HOUR = "2026-11-10T08"


def test_a_root_that_another_process_keeps_is_one_line_and_may_be_tried_again(settings, monkeypatch):
    monkeypatch.setattr(step, "LOCK_TIMEOUT_S", 0.1)
    refused = pytest.raises(TransientError, match=r"another process has held .*gpu\.lock for 0\.1 s; let it finish")
    with writer_lock(settings, "spark"), FileLock(settings.run_folder / "gpu.lock"), refused as error, writer_lock(settings, "gpu"):
        pytest.fail("two writers at once")
    assert "\n" not in str(error.value)
    with writer_lock(settings, "gpu"):
        pass


def test_a_step_that_is_told_to_end_leaves_a_row_that_says_so(settings):
    with pytest.raises(SystemExit), attempt(settings, "ingest", [HOUR]) as current:
        current.outputs["impressions"] = 3
        raise SystemExit(143)
    (row,) = ledger.rows(settings, "ingest", HOUR)
    assert (row.status, row.detail, row.outputs) == ("failed", "SystemExit: 143", {})


def test_a_clock_that_is_set_back_turns_no_order_around(settings, monkeypatch):
    files = (LandingFile("feedback/a.jsonl", 1, "", "feedback"),)
    with attempt(settings, "ingest", [HOUR]) as first:
        first.record("frozen", files=files)
        first.outputs["feedback"] = 1
        first.record("done")
    monkeypatch.setattr(step, "wall_clock", lambda: wall_clock() - timedelta(days=1))
    with attempt(settings, "ingest", [HOUR]) as second:
        second.record("released")
        second.outputs["feedback"] = 2
        second.record("done")
    assert ledger.last_done(settings, "ingest", HOUR).outputs == {"feedback": 2}
    assert ledger.newest_output(settings, "ingest", "feedback") == 2
    assert ledger.frozen(settings, "ingest", HOUR) is None
    ends = [row.ended_at for row in ledger.rows(settings)]
    assert ends == sorted(set(ends)) and ends[0] > wall_clock() - timedelta(minutes=1)
