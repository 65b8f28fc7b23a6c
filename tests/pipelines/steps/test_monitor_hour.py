"""What an hour looks like from outside: drift beside the right hours, figures by hand, and alerts that come once."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.errors import UserError
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.control import read_rows, replace_rows
from pipelines.lake.holds import hold
from pipelines.lake.metrics import Metric, read_metrics
from pipelines.lake.tables import table_path, table_version
from pipelines.settings import load_settings
from pipelines.steps import monitor_hour
from spark_jobs.contracts import DEFAULT_USER, TABLES

START = "2026-11-10T08"
USERS, ITEMS = [f"u{n}" for n in range(80)], [f"i{n}" for n in range(8)]
HOURS = [shift(START, n) for n in range(1, 32)]
STEPS = {
    "ingest": ("items",), "build_examples": ("training_examples",), "build_features": ("item_features",),
    "score_users": ("slate_log", "scores"),
}  # fmt: skip


class Root:
    """A root whose hours are made up. ``moved``: hours in which users' clicks of before, and nothing else, are others."""

    def __init__(self, settings, note_done, moved=(), hours=HOURS):
        self.settings, self._note, self._random = settings, note_done, np.random.default_rng(8)
        history = [{"item_id": item, "updated_hour": START, "title": item, "available": item != "i7"} for item in ITEMS]
        new = {"item_id": "new", "updated_hour": hours[-3], "title": "new", "available": True}
        self.write("items", [*history, new])
        met = [{"item_id": "new", "as_of": end_of(hours[-1]), "first_seen": parse_hour(hours[-1]) + timedelta(minutes=30)}]
        self.write("item_features", [*met, {"item_id": "i0", "as_of": end_of(hours[-1]), "first_seen": parse_hour(hours[-1])}])
        self.write("training_examples", [row for hour in hours for row in self._shown(hour, 2.0 * (hour in moved))])
        self.write("slate_log", [row for hour in hours for row in self._drawn(hour)])
        self.score(hours[-1])
        self.note(*hours[-2:])

    def write(self, name, rows):
        data = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
        partition = list(TABLES[name].partition) or None
        write_deltalake(str(table_path(self.settings, name)), data, mode="overwrite", partition_by=partition)

    def score(self, hour, source="policy"):
        """Slates of two items: i0 for everybody, i1 for half of the users, i2 for the others; the default slate is one of i0 and i1."""
        who = [(user, source, ("i0", "i1" if n % 2 else "i2")) for n, user in enumerate(USERS)]
        about = {
            "surface": "home", "score": 0.5, "propensity": 0.5, "slate_id": "s", "arm": "production", "release_id": "r000001", "hour": hour,
            "versions": {"encoder": "1", "ranker": "1", "policy": "1"}, "generated_at": end_of(hour),
        }  # fmt: skip
        everybody = [*who, (DEFAULT_USER, "fallback", ("i0", "i1"))]
        self.write("scores", [
            about | {"user_id": user, "source": own, "item_id": item, "position": k}
            for user, own, slate in everybody for k, item in enumerate(slate)
        ])  # fmt: skip

    def note(self, *hours):
        for step, tables in STEPS.items():
            self._note(self.settings, step, list(hours), {table: table_version(self.settings, table) for table in tables})

    def _shown(self, hour, moved) -> Iterator[dict]:
        """A slate of two items for every user, the first one clicked by a fifth of them."""
        for user in USERS:
            own, before = self._random.exponential(3.0, 2), self._random.exponential(3.0, 2)
            clicked = float(self._random.random() < 0.2)
            for k in range(2):
                yield {
                    "example_id": f"{hour}-{user}-{k}", "revision": 0, "user_id": user, "item_id": ITEMS[k], "ts": parse_hour(hour),
                    "known_at": parse_hour(hour), "position": k, "labels": {"click": clicked * (k == 0)}, "reward": clicked * (k == 0),
                    "reward_version": "v", "slate_id": f"{hour}-{user}", "item": {"clicks_24h": own[k]}, "hour": hour,
                    "user": {"clicks_24h": before[0] * np.exp(moved), "impressions_24h": before[1], "recent": []},
                }  # fmt: skip

    def _drawn(self, hour) -> Iterator[dict]:
        for user in [*USERS, DEFAULT_USER]:
            yield {
                "slate_id": f"{hour}-{user}", "position": 0, "user_id": user, "surface": "home", "item_id": "i0", "propensity": 0.5,
                "score": self._random.normal(), "source": "fallback" if user == DEFAULT_USER else "policy", "hour": hour,
            }  # fmt: skip

    def figures(self, hour):
        return {(metric.name, metric.subject): metric for metric in read_metrics(self.settings, hour)}


@pytest.fixture
def make_root(settings, note_done):
    def make(**values):
        return Root(settings, note_done, **values)

    return make


def excess(root, hour):
    return {metric.subject: metric.value for metric in read_metrics(root.settings, hour, "drift_psi")}


def test_a_shift_of_one_figure_is_found_and_no_other(make_root):
    root, last = make_root(moved=HOURS[-1:]), HOURS[-1]
    outcome = monitor_hour.run(root.settings, last)
    assert outcome.status == "done"
    found = root.figures(last)
    assert found["drift_found", "all"].value == 1.0
    assert "1 of 17 figures drifted beside the last 24 hours: user clicks_24h +" in outcome.detail
    values = excess(root, last)
    assert set(values) >= {"user impressions_24h", "item clicks_24h", "item age_h", "label click", "label reward", "score"}
    assert values.pop("user clicks_24h") > 1 and max(values.values()) < 0.2
    assert found["drift_psi", "user clicks_24h"].n == len(USERS)
    assert found["drift_psi", "user clicks_24h"].slice == "last 24 hours"
    (row,) = ledger.rows(root.settings, "monitor_hour")
    named = {"items", "training_examples", "slate_log", "scores", "item_features"}
    assert row.inputs == {name: table_version(root.settings, name) for name in named}


def test_held_hours_are_no_reference(make_root):
    """Most of the last 24 hours are a test of the site: beside them the hour is unlike, beside the sound ones like any other."""
    hours = [shift(START, n) for n in range(1, 42)]
    root, last, odd = make_root(moved=hours[-17:-1], hours=hours), hours[-1], hours[-17:-1]
    monitor_hour.run(root.settings, last)
    assert excess(root, last)["user clicks_24h"] > 0.5 and root.figures(last)["drift_found", "all"].value == 1.0
    for hour in odd:
        hold(root.settings, "poison", hour, "a test of the site")
    done_by_other_code(root.settings)
    assert monitor_hour.run(root.settings, last).status == "done"
    assert excess(root, last)["user clicks_24h"] < 0.1 and root.figures(last)["drift_found", "all"].value == 0.0


def done_by_other_code(settings):
    rows = [row | {"code_version": "older"} for row in read_rows(settings, "ledger") if row["step"] == "monitor_hour"]
    replace_rows(settings, "ledger", rows, "step = 'monitor_hour'")


def test_the_same_hour_of_earlier_weeks_comes_before_the_last_day(make_root):
    """The last day is moved, the hour a week ago and the one two weeks ago are as the hour is."""
    last = shift(START, 400)
    weeks, day = [shift(last, -336), shift(last, -168)], [shift(last, -n) for n in range(24, 0, -1)]
    root = make_root(moved=day, hours=[*weeks, *day, last])
    monitor_hour.run(root.settings, last)
    assert {metric.slice for metric in read_metrics(root.settings, last, "drift_psi")} == {"same hours of the week"}
    assert root.figures(last)["drift_found", "all"].value == 0.0


def test_of_too_few_hours_nothing_is_said_and_figures_are_there_all_the_same(make_root):
    root, last = make_root(hours=HOURS[:20]), HOURS[19]
    assert "too few hours to compare with" in monitor_hour.run(root.settings, last).detail
    assert not [name for name, _ in root.figures(last) if name.startswith("drift")]
    assert ("coverage", "scores") in root.figures(last)


def test_figures_of_what_is_served_by_hand(make_root):
    root, last = make_root(), HOURS[-1]
    monitor_hour.run(root.settings, last)
    found = root.figures(last)
    assert found["share_of_fallbacks", "rows"] == Metric("share_of_fallbacks", "rows", pytest.approx(2 / 162), n=162)
    assert found["share_of_fallbacks", "users"] == Metric("share_of_fallbacks", "users", pytest.approx(1 / 81), n=81)
    assert found["coverage", "scores"] == Metric("coverage", "scores", 3 / 8, n=8), "of eight items that can be had, the new one too"
    shares = np.array([0, 0, 0, 0, 0, 40, 41, 81])
    apart = np.abs(shares[:, None] - shares[None, :]).sum() / (2 * 8 * shares.sum())
    assert found["exposure_gini", "scores"].value == pytest.approx(apart)
    assert found["new_item_delay_h", "log"] == Metric("new_item_delay_h", "log", 1.5, n=1), "i0 is of the first load"
    reward = found["reward_a_slate", "log"]
    assert reward.n == 80 and 0.05 < reward.low < reward.value < reward.high < 0.4
    assert found["freshness_h", "scores"].value == 0.0 and ("freshness_h", "releases") not in found


def test_the_hour_again_changes_nothing_and_by_other_code_doubles_nothing(make_root):
    root, last = make_root(), HOURS[-1]
    monitor_hour.run(root.settings, last)
    before = read_rows(root.settings, "metrics")
    assert monitor_hour.run(root.settings, last).status == "unchanged"
    done_by_other_code(root.settings)
    assert monitor_hour.run(root.settings, last).status == "done"
    after = read_rows(root.settings, "metrics")
    assert sorted(map(str, after)) == sorted(map(str, before)) and len(before) > 40


def test_a_figure_that_an_hour_lost_is_not_left_from_the_attempt_before(make_root):
    root, last = make_root(), HOURS[-1]
    monitor_hour.run(root.settings, last)
    for hour in HOURS[:12]:
        hold(root.settings, "poison", hour, "a click farm")
    done_by_other_code(root.settings)
    monitor_hour.run(root.settings, last)
    assert not [name for name, _ in root.figures(last) if name.startswith("drift")]


def test_an_hour_before_its_scores_is_one_line_and_an_older_one_is_superseded(make_root):
    root, last = make_root(), HOURS[-1]
    with pytest.raises(UserError, match=f"hour {shift(last, 1)} has no finished score_users"):
        monitor_hour.run(root.settings, shift(last, 1))
    monitor_hour.run(root.settings, last)
    assert monitor_hour.run(root.settings, HOURS[-2]).status == "superseded"


class Listener:
    """A webhook's other side."""

    def __init__(self):
        received = self.received = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append((self.path, self.headers["Content-Type"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/secret"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def listener():
    found = Listener()
    yield found
    found.close()


def with_webhook(settings, url, **environ):
    return load_settings(settings.home, {"RECLOOP__OBJECTIVES__WEBHOOK": url} | environ)


def play(root, settings, *sources, after=HOURS[-1]):
    """An hour more for each of these, whose users are scored so."""
    for number, source in enumerate(sources):
        hour = shift(after, 1 + number)
        root.score(hour, source)
        root.note(hour)
        outcome = monitor_hour.run(settings, hour)
        assert outcome.status == "done"
        yield hour, outcome.detail


def test_a_broken_objective_is_told_once_and_once_when_it_holds_again(make_root, listener):
    root = make_root()
    settings = with_webhook(root.settings, listener.url)
    hours = dict(play(root, settings, "policy", "cold_start", "cold_start", "policy", "policy"))
    assert len(listener.received) == 2
    (path, kind, broke), (_, _, held) = listener.received
    named = list(hours)
    assert (path, kind, broke["hour"], broke["root"]) == ("/hooks/secret", "application/json", named[1], str(settings.home))
    assert held["hour"] == named[3]
    for content, broken in ((broke, True), (held, False)):
        told = [(one["objective"], one["broken"]) for one in content["alerts"]]
        assert told == [("share of fallbacks (rows)", broken), ("share of fallbacks (users)", broken)]
    assert "share of fallbacks (users) is 100.0%, objective at most 50.0%: " in broke["text"] and "it holds again" in held["text"]
    assert "BROKEN: share of fallbacks" in hours[named[2]], "an hour says all that is broken, told or not"
    states = [root.figures(hour)["objective_broken", "share of fallbacks (rows)"].value for hour in hours]
    assert states == [0.0, 1.0, 1.0, 0.0, 0.0]


def test_a_webhook_that_is_away_fails_nothing_and_is_told_with_the_next_hour(make_root, listener):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}/hooks/secret"
    root = make_root()
    ((hour, detail),) = play(root, with_webhook(root.settings, dead), "cold_start")
    assert "the webhook was not told (URLError: " in detail and "secret" not in detail
    (row,) = ledger.rows(root.settings, "monitor_hour")
    assert (row.status, row.detail) == ("done", detail)
    later = dict(play(root, with_webhook(root.settings, listener.url), "cold_start", "cold_start", after=hour))
    assert [content["hour"] for _, _, content in listener.received] == [min(later)]


def test_an_objective_that_a_person_sets_is_judged_from_the_next_hour_on(make_root):
    root = make_root()
    settings = load_settings(root.settings.home, {"RECLOOP__OBJECTIVES__COVERAGE": "0.5", "RECLOOP__OBJECTIVES__REWARD_A_SLATE": "9"})
    detail = monitor_hour.run(settings, HOURS[-1]).detail
    assert "coverage is 37.5%, objective at least 50.0%: " in detail and "reward a slate is 0." in detail
