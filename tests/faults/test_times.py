"""Instants that calendars and clocks get wrong (fault 19): an hour is UTC, half-open, and the same wherever the machine stands."""

import json
from datetime import UTC, datetime

import pytest

from pipelines.settings import load_settings
from spark_jobs.events import with_hour
from spark_jobs.parsing import parse, read_lines
from tests.faults.small_loop import HOURS, differing, said, start_step

LATEST = "2026-11-10T09:00:00Z"
ZONES = ("America/New_York", "Pacific/Chatham")  # a change of clocks nine days before; a quarter of an hour from any full one
INSTANTS = {
    "2026-03-29T01:59:59.999999+01:00": "2026-03-29T00",  # the last before Berlin's clocks jump to three
    "2026-03-29T03:00:00+02:00": "2026-03-29T01",
    "2026-03-29T02:30:00+01:00": "2026-03-29T01",  # an hour that no clock there showed is an instant all the same
    "2026-10-25T02:30:00+02:00": "2026-10-25T00",  # half past two, twice
    "2026-10-25T02:30:00+01:00": "2026-10-25T01",
    "2024-02-29T23:59:59Z": "2024-02-29T23",
    "2024-03-01T05:44:59+05:45": "2024-02-29T23",
    "2023-02-29T12:00:00Z": None,
    "2016-12-31T23:59:59Z": "2016-12-31T23",
    "2016-12-31T23:59:60Z": None,  # a leap second that was: a minute has sixty seconds here, and no instant stands for another
    "2017-01-01T00:00:00Z": "2017-01-01T00",
    "2026-11-10T08:00:00Z": "2026-11-10T08",
    "2026-11-10T07:59:59.999999Z": "2026-11-10T07",
    "2026-10-25T02:30:00": None,  # which of the two, nobody knows
}


def test_each_instant_has_one_hour_and_what_is_none_is_refused(spark, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"user_id": "u", "item_id": "i", "type": "click", "ts": ts}) + "\n" for ts in INSTANTS))
    parsed = parse(read_lines(spark, [(str(path), "feedback")], 1000), "feedback", LATEST)
    rows = with_hour(parsed, ["2000-01-01T00"]).orderBy("line").collect()
    found = {ts: (row["hour"] if row["reason"] is None else None, row["reason"]) for ts, row in zip(INSTANTS, rows, strict=True)}
    assert found == {ts: (hour, None if hour else "wrong_type") for ts, hour in INSTANTS.items()}
    instants = [datetime.fromisoformat(ts).astimezone(UTC) for ts, hour in INSTANTS.items() if hour]
    assert [hour for hour in INSTANTS.values() if hour] == [instant.strftime("%Y-%m-%dT%H") for instant in instants]


@pytest.mark.faults
@pytest.mark.parametrize(("zone", "step"), zip(ZONES, ("build_features", "score_users"), strict=True))
def test_a_step_on_a_machine_of_another_zone_says_the_same(root_before, staged, zone, step):
    settings = root_before(step)
    running = start_step(settings.home, step, HOURS[-1], TZ=zone)
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0 and out.splitlines()[-1].startswith("done"), err
    assert differing(said(settings), said(load_settings(staged.after[step], {}))) == []
