"""What now is, and which hours may be worked on."""

from datetime import timedelta

import pytest

from pipelines.clock import check_hour, now, wall_clock
from pipelines.errors import UserError
from pipelines.hours import end_of, hour_of, shift
from pipelines.settings import load_settings


def settings_of(tmp_path, start, now="wall"):
    return load_settings(tmp_path, {"RECLOOP__LAKE__START_HOUR": start, "RECLOOP__LAKE__NOW": now})


def test_now_is_the_end_of_the_hour_in_a_replay_and_the_wall_clock_otherwise(tmp_path):
    hour = "2026-01-05T03"
    assert now(settings_of(tmp_path, hour, "loop"), hour) == end_of(hour)
    assert abs(now(settings_of(tmp_path, hour), hour) - wall_clock()) < timedelta(seconds=5)


def test_the_hour_at_work_must_have_ended(tmp_path):
    this = hour_of(wall_clock())
    settings = settings_of(tmp_path, shift(this, -3))
    check_hour(settings, shift(this, -1))
    for hour in (this, shift(this, 1)):
        with pytest.raises(UserError, match=f"hour {hour} has not ended; the newest hour that can be processed is {shift(this, -1)}"):
            check_hour(settings, hour)


def test_hours_begin_with_the_start_hour(tmp_path):
    settings = settings_of(tmp_path, "2026-01-05T03")
    check_hour(settings, "2026-01-05T03")
    with pytest.raises(UserError, match=r"lies before lake\.start_hour 2026-01-05T03"):
        check_hour(settings, "2026-01-05T02")


def test_without_a_start_hour_the_error_says_how_to_set_it(tmp_path):
    with pytest.raises(UserError, match=r"lake\.start_hour is not set; run `recloop demo-data"):
        check_hour(load_settings(tmp_path, {}), "2026-01-05T03")
