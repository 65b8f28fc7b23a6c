"""The ledger: attempts in order, and what counts as finished."""

from datetime import UTC, datetime, timedelta

import pytest
from deltalake import DeltaTable

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LandingFile, LedgerRow, write_rows
from pipelines.lake.metrics import Metric, read_metrics, write_metrics

HOUR = "2026-11-10T08"
NEXT = shift(HOUR, 1)
BEGIN = datetime(2026, 11, 10, 9, 10, tzinfo=UTC)


def row(status="done", step="ingest", hour=HOUR, minute=0, **values):
    at = BEGIN + timedelta(minutes=minute)
    return LedgerRow(hour, step, status, "code", at, at + timedelta(seconds=5), **values)


@pytest.fixture
def write(settings):
    return lambda *new: write_rows(settings, new)


def test_a_row_comes_back_as_it_was_written(settings, write):
    files = (LandingFile("feedback/a.jsonl", 120, "ff" * 32, "feedback"), LandingFile("items/b.jsonl.gz", 9, "aa" * 32, "items", HOUR))
    full = row(
        files=files, inputs={"impressions": 3}, outputs={"feedback": 4, "items": 0}, rows_in=10, rows_out=9, rows_refused=1,
        content_hash="c", seconds={"parse": 1.25}, release_id="r000001", detail="9 taken",
    )  # fmt: skip
    write(full)
    (found,) = ledger.rows(settings)
    assert found == LedgerRow(**{**vars(full), "attempt": 1})


def test_attempts_are_counted_by_step_and_hour_in_one_commit_for_all_hours(settings, write):
    write(row("failed"), row("failed", hour=NEXT))
    write(row("done", minute=1), row("done", step="build_features", minute=2))
    attempts = [(found.step, found.hour, found.status, found.attempt) for found in ledger.rows(settings)]
    assert attempts == [
        ("ingest", HOUR, "failed", 1), ("ingest", NEXT, "failed", 1), ("ingest", HOUR, "done", 2), ("build_features", HOUR, "done", 1),
    ]  # fmt: skip
    assert DeltaTable(str(settings.warehouse / "ledger")).version() == 2
    assert [found.status for found in ledger.rows(settings, "ingest", HOUR)] == ["failed", "done"]


def test_what_is_done_is_the_last_attempt_that_made_output(settings, write):
    assert ledger.last_done(settings, "ingest", HOUR) is None and ledger.rows(settings) == []
    write(row("done", minute=0, outputs={"feedback": 1}))
    write(row("done", minute=1, outputs={"feedback": 2}))
    write(row("unchanged", minute=2), row("failed", minute=3))
    assert ledger.last_done(settings, "ingest", HOUR).outputs == {"feedback": 2}
    assert ledger.last_done(settings, "ingest", NEXT) is None
    assert ledger.newest_done(settings, "ingest", before=HOUR) is None
    assert ledger.newest_done(settings, "ingest", before=NEXT).outputs == {"feedback": 2}


def test_of_several_hours_the_newest_counts_not_the_one_that_ran_last(settings, write):
    write(row(hour=NEXT, minute=0, outputs={"feedback": 1}))
    write(row(hour=HOUR, minute=9, outputs={"feedback": 2}))
    later = shift(NEXT, 1)
    assert ledger.newest_done(settings, "ingest", before=later).outputs == {"feedback": 1}
    assert ledger.newest_hour(settings, "ingest") == NEXT and ledger.newest_hour(settings, "ingest", before=NEXT) == HOUR


def test_superseded_and_unchanged_hours_are_finished_failed_and_frozen_ones_are_not(settings, write):
    for number, status in enumerate(("done", "unchanged", "superseded", "failed", "frozen")):
        write(row(status, hour=shift(HOUR, number)))
    assert ledger.newest_hour(settings, "ingest") == shift(HOUR, 2)
    assert ledger.newest_hour(settings, "ingest", before=HOUR) is None and ledger.newest_hour(settings, "promote_models") is None


def test_the_first_frozen_row_is_the_one_that_counts(settings, write):
    assert ledger.frozen(settings, "ingest", HOUR) is None
    for minute, name in enumerate(("first", "second")):
        write(row("frozen", minute=minute, files=(LandingFile(name, 1, "", "items"),)), row("failed", minute=minute))
    assert [file.path for file in ledger.frozen(settings, "ingest", HOUR).files] == ["first"]


def test_figures_are_replaced_by_name_and_hour(settings):
    write_metrics(settings, HOUR, [])
    assert read_metrics(settings, HOUR) == []
    auc = Metric("gate_auc", "ranker", 0.7, 0.6, 0.8, 100, model_version="3")
    write_metrics(settings, HOUR, [auc, Metric("gate_auc", "both", 0.5), Metric("churn", "scores", 0.2)])
    write_metrics(settings, NEXT, [Metric("gate_auc", "ranker", 0.1)])
    write_metrics(settings, HOUR, [auc, Metric("gate_loss", "ranker", 1.5, slice="new")])
    found = sorted(read_metrics(settings, HOUR), key=lambda metric: metric.name)
    assert found == [Metric("churn", "scores", 0.2), auc, Metric("gate_loss", "ranker", 1.5, slice="new")]
    assert {metric.name for metric in read_metrics(settings, HOUR, "gate_")} == {"gate_auc", "gate_loss"}
    assert [metric.value for metric in read_metrics(settings, NEXT)] == [0.1]
