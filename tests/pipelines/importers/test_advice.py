"""What to do next, worked by hand."""

from datetime import UTC, datetime

import pytest

from pipelines.clock import wall_clock
from pipelines.hours import hour_of, shift
from pipelines.importers.advice import advice, start_hour
from pipelines.importers.report import ImportReport
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.settings import load_settings


def report(hours, kinds=("feedback",), reaction="click", refused=0):
    found = ImportReport(datetime(2100, 1, 1, tzinfo=UTC), 1000)
    for hour in hours:
        for kind in kinds:
            record = {"user_id": "u", "item_id": "i", "ts": f"{hour}:30:00+00:00", "type": reaction, "position": 0, "title": "t"}
            found.add(kind, record, 100, None, 1)
    for _ in range(refused):
        found.add("feedback", {}, 2, None, 1)
    if "items" in kinds:
        found.records["items"] = 1
    return found


@pytest.mark.parametrize(
    ("first", "last", "kinds", "expected"),
    [
        ("2026-11-01T00", "2026-11-03T07", ("feedback",), "2026-11-03T07"),
        ("2026-11-01T00", "2026-11-10T07", ("feedback", "impressions"), "2026-11-09T07"),
        ("2026-11-01T00", "2026-11-01T11", ("feedback", "impressions"), "2026-11-01T06"),
        ("2026-11-01T00", "2026-11-01T00", ("feedback", "impressions"), "2026-11-01T00"),
    ],
)
def test_the_hour_of_the_first_load(first, last, kinds, expected):
    assert start_hour(report([last, first], kinds)) == expected


def test_an_hour_that_has_not_ended_is_never_proposed():
    now = hour_of(wall_clock())
    assert start_hour(report([shift(now, -5), now])) in (shift(now, -1), now)
    assert start_hour(report([])) is None


def test_what_to_put_into_the_settings_and_to_run(settings):
    ready = report(["2026-11-01T00", "2026-11-03T07"], ("feedback", "items"))
    assert advice(settings, ready) == [
        f"put into {settings.home}/recloop.yaml:   lake: {{start_hour: 2026-11-03T07}}",
        "run next:   recloop hour 2026-11-03T07",
    ]
    shown = report(["2026-11-01T00", "2026-11-10T07"], ("feedback", "impressions", "items"))
    assert advice(settings, shown)[-1] == "run next:   recloop backfill --from 2026-11-09T07 --to 2026-11-10T07"


def test_a_long_log_may_be_judged_before_it_is_looped(settings):
    assert advice(settings, report(["2026-10-01T00", "2026-11-01T07"], ("feedback", "items")))[-1] == (
        "or, to judge recloop on this log first:   start_hour: 2026-10-16T15, "
        "recloop backfill --tables-only --from 2026-10-16T15 --to 2026-11-01T07, recloop evaluate --candidates FILE"
    )


def test_a_start_hour_that_is_set_stays(tmp_path):
    (tmp_path / "recloop.yaml").write_text("lake: {start_hour: 2026-11-02T00}")
    settings = load_settings(tmp_path, {})
    assert advice(settings, report(["2026-11-03T07"], ("feedback", "items"))) == [
        "run next:   recloop backfill --from 2026-11-02T00 --to 2026-11-03T07"
    ]


def test_a_loop_that_runs_goes_on_after_its_newest_finished_hour(tmp_path):
    (tmp_path / "recloop.yaml").write_text("lake: {start_hour: 2026-11-02T00}")
    settings = load_settings(tmp_path, {})
    at = datetime(2026, 11, 4, tzinfo=UTC)
    older, newer = (report([hour], ("feedback", "items")) for hour in ("2026-11-03T07", "2026-11-05T07"))
    ledger.write_rows(settings, [LedgerRow("2026-11-04T09", "build_features", "done", "code", at, at)])
    assert advice(settings, older) == ["run next:   recloop hour 2026-11-04T10"]
    assert advice(settings, newer) == ["run next:   recloop backfill --from 2026-11-04T10 --to 2026-11-05T07"]
    newest = shift(hour_of(wall_clock()), -1)
    ledger.write_rows(settings, [LedgerRow(newest, "build_features", "done", "code", at, at)])
    assert advice(settings, newer)[0].endswith("takes these records once it has ended")


def test_what_keeps_the_loop_from_learning_is_said_first(settings):
    lines = advice(settings, report(["2026-11-03T07"], reaction="purchase", refused=1))
    assert "refuse 50.0% of the records, and an hour with more than 5.0% fails" in lines[0]
    assert "domain video rewards click, watch, rating, and the log has only purchase" in lines[1]
    assert "there is no catalogue yet" in lines[2]
    (settings.landing / "items").mkdir(parents=True)
    (settings.landing / "items" / "a.jsonl.gz").touch()
    assert not any("catalogue" in line for line in advice(settings, report(["2026-11-03T07"])))
