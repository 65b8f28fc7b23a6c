"""The summary repeats what the tables say."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.local.screen import print_summary
from pipelines.local.summary import read_summary, short_reason, verdict

START = "2026-11-10T08"
HOURS = [shift(START, by) for by in (30, 31)]


@pytest.fixture
def summed(make_root, ledger_row):
    """Two live hours; the second decision promotes."""
    root = make_root()
    settings = root.settings
    failed = "AUC per user: -0.0100, wanted above -0.003 (0.0010 [-0.0100, 0.0120], n=9000)"
    root.release(HOURS[0], "rejected", reasons=(failed, "policy value: not measured"))
    root.release(HOURS[1], reasons=("all 8 gates passed",))
    for number, hour in enumerate(HOURS):
        ingested = ledger_row("ingest", hour, rows_out=1000 + number)
        ledger.write_rows(settings, [ingested, ledger_row("score_users", hour, release_id="r000001")])
        alone = [Metric("world_reward", "loop", 1 + number, 0.9, 1.1, 600), Metric("world_difference", "random", 0.5, 0.4, 0.6, 600)]
        together = [replace(metric, slice="live hours", value=9.0, n=600 * (1 + number)) for metric in alone]
        write_metrics(settings, hour, [*alone, *together, Metric("world_share_of_best", "loop", 0.55, 0.5, 0.6, 600, "live hours")])
    return settings


def test_each_hour_has_its_events_figures_release_and_decision(summed):
    first, second = read_summary(summed).hours
    assert (first.hour, first.events, first.figures.rewards["loop"].value) == (HOURS[0], 1000, 1)
    assert (first.in_force.release_id, verdict(first.decision), verdict(second.decision)) == ("r000001", "rejected", "promoted")
    assert second.figures.differences["random"].low == 0.4


def test_the_total_is_that_of_the_newest_hour(summed):
    total = read_summary(summed).total
    assert (total.rewards["loop"].value, total.rewards["loop"].n, total.share.value) == (9.0, 1200, 0.55)


def test_a_short_reason_counts_the_others_and_keeps_its_width(summed):
    decision = read_summary(summed).hours[0].decision
    assert short_reason(decision) == "AUC per user: -0.0100, wanted above -0.003 (+1 more)"
    assert len(short_reason(decision, width=30)) == 30
    assert short_reason(None) == "" and verdict(None) == "none yet"


def test_the_printed_summary_holds_hours_outcomes_and_totals(summed):
    console = Console(record=True, width=140, file=io.StringIO())
    print_summary(console, read_summary(summed))
    text = console.export_text()
    for expected in (*HOURS, "1,001", "r000002 rejected", "r000003 promoted", "all 8 gates passed", "55% (50% to 60%)", "1,200 slates"):
        assert expected in text


def test_nothing_evaluated_yet_is_said(settings):
    console = Console(record=True, width=140, file=io.StringIO())
    print_summary(console, read_summary(settings))
    assert "No live hour has been evaluated yet" in console.export_text()
