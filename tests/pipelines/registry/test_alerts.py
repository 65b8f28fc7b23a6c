"""Objectives beside figures: one sentence each, what has changed, and a webhook's answers. And how old tables are."""

import socket

import pytest
from deltalake import write_deltalake

from pipelines.clock import wall_clock
from pipelines.hours import hour_of, shift
from pipelines.lake import ledger
from pipelines.lake.freshness import newest_attempted, table_freshness
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.metrics import Metric, read_metrics, write_metrics
from pipelines.lake.tables import table_path
from pipelines.registry.alerts import Alert, broken_objectives, changes, judge_objectives, post
from pipelines.registry.objectives_now import objectives_now
from pipelines.settings import load_settings
from spark_jobs.contracts import TABLES

START = "2026-11-10T08"
FIGURES = [
    Metric("freshness_h", "scores", 5.25), Metric("freshness_h", "releases", 3.0), Metric("freshness_h", "items", 900.0),
    Metric("share_of_fallbacks", "users", 0.75, n=100), Metric("coverage", "scores", 0.04), Metric("reward_a_slate", "log", -0.2),
    Metric("exposure_gini", "scores", 0.99), Metric("drift_psi", "user clicks_24h", 9.0),
]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """Settings of a root with this clock."""

    def make(now="loop", **environ):
        (tmp_path / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: {now}}}\n")
        return load_settings(tmp_path, {f"RECLOOP__OBJECTIVES__{name}": value for name, value in environ.items()})

    return make


def done(settings, step, hour, status="done"):
    now = wall_clock()
    ledger.write_rows(settings, [LedgerRow(hour, step, status, "code", now, now)])


def test_each_broken_objective_is_one_sentence_of_what_is_what_should_be_and_what_to_do(root):
    found = broken_objectives(FIGURES, root().objectives)
    ages, fallbacks = ((alert.objective, alert.found, alert.bound) for alert in found)
    assert (ages, fallbacks) == (("age of scores", 5.25, 2.0), ("share of fallbacks (users)", 0.75, 0.5))
    assert found[0].text.startswith("age of scores is 5.25 h, objective at most 2 h: `recloop status` names the step")
    assert found[1].text.startswith("share of fallbacks (users) is 75.0%, objective at most 50.0%: see whether feedback carries")
    assert not any("\n" in alert.text for alert in found)


def test_what_is_set_to_nothing_is_not_judged_and_drift_never_is(root):
    every = root(FRESHNESS_H__SCORES="null", SHARE_OF_FALLBACKS="null", COVERAGE="0.05", REWARD_A_SLATE="0").objectives
    judged = {one.objective: one.broken for one in judge_objectives(FIGURES, every)}
    assert judged == {"age of releases": False, "coverage": True, "reward a slate": True}


def test_a_change_is_told_and_what_was_told_is_not(root):
    judged = judge_objectives(FIGURES, root().objectives)
    assert [alert.objective for alert in changes(judged, {"age of scores": True})] == ["share of fallbacks (users)"]
    (again,) = changes(judged, {"age of scores": True, "share of fallbacks (users)": True, "age of releases": True})
    assert (again.broken, again.text) == (False, "age of releases is 3 h, objective at most 3 h: it holds again")


def test_a_webhook_that_refuses_or_speaks_something_else_is_words_without_its_address():
    alert = [Alert("a", True, 1.0, 0.0, "a is 1")]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"http://127.0.0.1:{probe.getsockname()[1]}/hooks/secret"
    for url in (address, "http://no-such-host.invalid/secret", "http://127.0.0.1:99999/secret"):
        failure = post(url, START, "/root", alert)
        assert failure and "secret" not in failure and "\n" not in failure


def test_tables_of_events_are_as_old_as_their_rows_and_others_as_their_steps(root):
    """Ingest goes on and finds nothing: impressions grow old, what was computed from them does not; a failed step makes nothing new."""
    settings = root()
    empty, schema = TABLES["impressions"].schema.empty_table(), TABLES["impressions"].schema
    write_deltalake(str(table_path(settings, "feedback")), TABLES["feedback"].schema.empty_table(), partition_by=["hour"])
    write_deltalake(str(table_path(settings, "impressions")), empty, partition_by=["hour"])
    event = {"event_id": "e", "user_id": "u", "item_id": "i", "position": 0, "ts": wall_clock(), "hour": START}
    write_deltalake(str(table_path(settings, "impressions")), empty.from_pylist([event], schema=schema), mode="append")
    hours = [shift(START, n) for n in range(5)]
    for hour in hours:
        done(settings, "ingest", hour)
    done(settings, "score_users", hours[2])
    done(settings, "score_users", hours[3], status="failed")
    ages = {metric.subject: metric.value for metric in table_freshness(settings, hours[4])}
    assert ages == {"impressions": 4.0, "items": 0.0, "slate_decisions": 2.0, "slate_log": 2.0, "scores": 2.0}
    assert newest_attempted(settings) == hours[4]


def test_a_loop_that_stands_still_grows_old_by_the_clock(root):
    settings, hour = root("wall"), shift(hour_of(wall_clock()), -7)
    assert objectives_now(settings) == []
    done(settings, "score_users", hour)
    done(settings, "monitor_hour", hour)
    write_metrics(settings, hour, [Metric("share_of_fallbacks", "users", 0.75), Metric("freshness_h", "scores", 0.2)])
    judged = {one.objective: one for one in objectives_now(settings)}
    assert judged["age of scores"].broken and 6 <= judged["age of scores"].found <= 7
    assert judged["share of fallbacks (users)"].broken


def test_figures_go_where_their_names_are_given_and_others_stay(root):
    settings = root()
    write_metrics(settings, START, [Metric("a", "x", 1.0), Metric("b", "x", 2.0), Metric("c", "x", 3.0)])
    write_metrics(settings, START, [Metric("a", "y", 4.0)], also_without=["b"])
    assert {(metric.name, metric.subject) for metric in read_metrics(settings, START)} == {("a", "y"), ("c", "x")}
    write_metrics(settings, START, [])
    assert len(read_metrics(settings, START)) == 2
