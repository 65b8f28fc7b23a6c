"""Progress in a log: one line a stage, with what came of it."""

import io
import re

import pytest
from rich.console import Console

from pipelines.local.stages import WIDE, Stages, wide_console


@pytest.fixture
def stages():
    return Stages(Console(file=io.StringIO(), width=60))


def printed(stages):
    return stages.console.file.getvalue().splitlines()


def test_a_finished_stage_is_one_line_with_time_and_result(stages):
    with stages.stage("play 6 hours") as stage:
        stage.says("hour 1 of 6")
        stage.ends_with("12,000 impressions " + "and more " * 10)
    (line,) = printed(stages)
    assert re.match(r"  0:00 ✓ play 6 hours  0\.\d s  12,000 impressions", line)
    assert "[" not in line


def test_a_failed_stage_says_so_and_the_error_goes_on(stages):
    with pytest.raises(ValueError), stages.stage("train [gpu]"):
        raise ValueError
    (line,) = printed(stages)
    assert "✗ train [gpu]" in line


def test_a_log_is_wide_enough_for_tables(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert wide_console().width == WIDE
