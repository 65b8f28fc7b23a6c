"""Waiting for an hour that something else works on: success, failure, and patience that ends."""

import io

import pytest
from rich.console import Console

from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.local import live_hours
from pipelines.local.airflow_client import DagRun
from pipelines.local.live_hours import next_hours, wait_for_hour
from pipelines.local.stages import Stages

START = "2026-11-10T08"
HOUR = shift(START, 30)


class Played:
    """A scheduler that does at each look what the test says."""

    def __init__(self, *looks):
        self.looks = list(looks)

    def trigger(self, dag, hour):
        raise AssertionError("waiting triggers nothing")

    def runs(self, hour):
        assert hour == HOUR
        return self.looks.pop(0)() if self.looks else []


@pytest.fixture
def wait(settings, monkeypatch):
    monkeypatch.setattr(live_hours, "POLL_S", 0.0)

    def run(scheduler, before=frozenset(), patience_s=30.0):
        stages = Stages(Console(file=io.StringIO()))
        with stages.stage("x") as stage:
            wait_for_hour(settings, scheduler, HOUR, stage, set(before), patience_s)

    return run


def test_it_waits_for_scores_and_decision_and_for_nothing_else(settings, ledger_row, wait):
    def score():
        ledger.write_rows(settings, [ledger_row("score_users", HOUR)])
        return [DagRun("score_users", "r1", "success", "log")]

    def decide():
        ledger.write_rows(settings, [ledger_row("promote_models", HOUR, status="superseded")])
        return [DagRun("promote_models", "r2", "running", "log")]

    scheduler = Played(score, decide)
    wait(scheduler)
    assert scheduler.looks == []


def test_a_failed_run_ends_it_with_the_reason_of_the_ledger(settings, ledger_row, wait):
    ledger.write_rows(settings, [ledger_row("finetune_ranker", HOUR, status="failed", detail="ConnectionError: MLflow\nmore")])
    failed = [DagRun("finetune_ranker", "asset__7", "failed", "/airflow/logs/x")]
    said = r"finetune_ranker failed for hour .* \(asset__7\): ConnectionError: MLflow; see /airflow/logs/x"
    with pytest.raises(UserError, match=said):
        wait(Played(lambda: failed))


def test_a_run_that_failed_before_this_demo_does_not_count(settings, ledger_row, wait):
    old = DagRun("build_features", "old", "failed", "log")

    def finish():
        ledger.write_rows(settings, [ledger_row(step, HOUR) for step in ("score_users", "promote_models")])
        return [old]

    wait(Played(lambda: [old], finish), before={"old"})


def test_patience_that_ends_says_what_was_found(settings, ledger_row, wait):
    ledger.write_rows(settings, [ledger_row("score_users", HOUR)])
    running = [DagRun("refresh_policy", "r3", "running", "/logs/r3")]
    with pytest.raises(UserError, match=r"no promote_models after 0 s, found refresh_policy running \(r3\); see /logs/r3"):
        wait(Played(lambda: running), patience_s=0.0)


def test_hours_go_on_after_the_newest_scored_one_and_first_mend_what_has_no_decision(make_root, ledger_row):
    root = make_root()
    with pytest.raises(UserError, match="nothing is scored"):
        next_hours(root.settings, 2)
    ledger.write_rows(root.settings, [ledger_row("score_users", HOUR)])
    assert next_hours(root.settings, 2) == [HOUR, shift(HOUR, 1), shift(HOUR, 2)]
    root.release(HOUR, "abstained")
    assert next_hours(root.settings, 2) == [shift(HOUR, 1), shift(HOUR, 2)]
