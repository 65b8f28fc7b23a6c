"""Steps in this process: outcomes as lines, failures as one."""

import io

import pytest
from rich.console import Console

from pipelines.errors import UserError
from pipelines.local.in_process import explained, run_steps
from pipelines.local.stages import Stages
from pipelines.steps.step import Outcome

HOUR = "2026-11-10T08"


def good(settings, hour):
    return Outcome("good", hour, "done", "7 rows")


def bad(settings, hour):
    raise ConnectionError("refused\nsecond line")


def test_each_step_is_a_line_and_nothing_runs_after_a_failure(settings):
    stages = Stages(Console(file=io.StringIO(), width=200))
    ran = []
    with pytest.raises(UserError, match=rf"of hour {HOUR} failed: ConnectionError: refused; see .*recloop\.log"):
        run_steps(settings, HOUR, [good, bad, lambda *args: ran.append(args)], stages)
    lines = stages.console.file.getvalue().splitlines()
    assert [("✓" in line, "done: 7 rows" in line) for line in lines] == [(True, True), (False, False)]
    assert not ran
    assert "second line" in (settings.logs / "recloop.log").read_text()


def test_an_error_for_the_user_stays_as_it_is(settings):
    with pytest.raises(UserError, match=r"^as it is$"):
        explained(settings, "x", lambda: (_ for _ in ()).throw(UserError("as it is")))
    assert not settings.logs.exists()
