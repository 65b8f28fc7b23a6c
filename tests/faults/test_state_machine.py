"""Whatever lands, in whatever order, killed and run again, rebuilt and compacted: the tables are what a plain model of the log says."""

import os
import shutil
import time
from collections import Counter
from datetime import timedelta
from itertools import count

import hypothesis
import pytest
from deltalake import DeltaTable
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pipelines.hours import hour_range, parse_hour, shift
from pipelines.lake import ledger
from pipelines.local.verification import verify
from pipelines.settings import load_settings
from pipelines.steps import build_features, maintain_tables, rebuild, step
from tests.faults.log_model import KINDS, Line, LogModel, as_bytes, ts_of
from tests.faults.small_loop import SIGKILLED, START, land, run_step
from tests.faults.test_kill import BOUNDARIES

BROKEN = {
    b"{broken": "bad_json", b'{"user_id": "u1"}': "missing_key", b'{"user_id": "\xff"}': "bad_json",
    b'{"user_id":"u1","item_id":"m1","position":"0","type":"click","ts":"2026-11-10T08:10:00"}': "wrong_type",
    b'{"user_id":"u1","item_id":"m1","position":-1,"type":"watch","value":-1,"ts":"2026-11-10T08:10:00Z"}': "negative_value",
    b'{"user_id":"u1","item_id":"m1","position":0,"type":"click","ts":"2999-01-01T00:00:00Z"}': "from_future",
}  # fmt: skip
COUNTERS = [("impression", "impressions_1h", 1), ("click", "clicks_24h", 24), ("rating", "ratings_168h", 168)]

PATIENCE_S = float(os.environ.get("RECLOOP_TEST_LOG_S", "240"))  # a longer search finds more
UNTIL = 0.0

event = st.tuples(st.just("event"), st.integers(0, 2), st.integers(0, 4), st.integers(-2, 2), st.sampled_from([0, 1, 30, 59]))
old = st.tuples(st.sampled_from(["again", "conflict"]), st.integers(0, 50))
broken = st.tuples(st.just("broken"), st.sampled_from(sorted(BROKEN)))
content = st.lists(st.one_of(event, event, event, old, broken), min_size=1, max_size=8)
files = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from("abc"), content), min_size=1, max_size=4)


def in_time(_):
    return time.monotonic() < UNTIL


class Log(RuleBasedStateMachine):
    """One root; ``newest`` is its newest finished hour, ``frozen`` what a killed pass has taken for good, by hour."""

    def __init__(self, first_load, folder):
        super().__init__()
        self.home = folder / f"root {next(NUMBERS)}"
        shutil.copytree(first_load.home, self.home)
        self.settings = load_settings(self.home, {})
        self.model, self.newest, self.frozen, self.numbers, self.grown = LogModel(), START, {}, count(), False
        for kind in KINDS:
            for row in rows(self.settings, kind):
                self.model.taken[kind][row["event_id"]] = (START, {**row, "ts": row["ts"].isoformat()})
        self.lines = {kind: [] for kind in KINDS}

    def teardown(self):
        shutil.rmtree(self.home)

    @rule(landed=files)
    def land(self, landed):
        for kind, letter, parts in landed:
            path = self.settings.landing / kind / f"{letter}{next(self.numbers)}.jsonl"
            found = [line for number, part in enumerate(parts, 1) if (line := self._line(kind, str(path), number, part))]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".tmp").write_bytes(b"".join(line.raw + b"\n" for line in found))
            path.with_suffix(".tmp").rename(path)
            self.model.open[kind] += found
            self.lines[kind] += [line for line in found if line.event]

    def _line(self, kind, path, number, part):
        if part[0] == "broken":
            return Line(path, number, part[1], reason=BROKEN[part[1]])
        if part[0] == "event":
            event = self._event(kind, *part[1:])
        elif not self.lines[kind]:
            return Line(path, number, b"[]", reason="bad_json")
        else:
            event = dict(self.lines[kind][part[1] % len(self.lines[kind])].event)
            if part[0] == "conflict":
                event["item_id"] = f"other {event['item_id']}"
        return Line(path, number, as_bytes(event), event)

    def _event(self, kind, user, item, hours, minute):
        number, at = next(self.numbers), parse_hour(shift(self.newest, 1 + hours)) + timedelta(minutes=minute)
        about = {"user_id": f"u{user}", "item_id": f"m{item}", "ts": at.isoformat(), "request_id": f"r{number % 7}"}
        own = {"event_id": f"i{number}", "position": 0} if kind == "impressions" else {"event_id": f"c{number}", "type": "click"}
        return own | about

    @precondition(in_time)
    @rule(landed=files, passes=st.lists(st.sampled_from([1, 1, 2]), min_size=1, max_size=2))
    def run_hours(self, landed, passes):
        """The second pass goes on with files that hold records of later hours."""
        self.land(landed)
        for hours in passes:
            last = shift(self.newest, hours)
            assert build_features.run(self.settings, last).status == "done"
            self._took(last)
            self.check()

    def _took(self, last):
        left = hour_range(shift(self.newest, 1), last)
        while left:
            held = self.frozen.get(left[0])
            own = [hour for hour in self.frozen if self.frozen[hour] is held] if held is not None else left
            self.model.take(own, held if held is not None else self.model.files())
            left = [hour for hour in left if hour not in own]
            self.newest = own[-1]
        self.grown = True

    @precondition(in_time)
    @rule(hours=st.sampled_from([1, 1, 2]), boundary=st.sampled_from(BOUNDARIES["build_features"]))
    def kill(self, hours, boundary):
        left = hour_range(shift(self.newest, 1), shift(self.newest, hours))
        done = run_step(self.home, "build_features", left[-1], boundary)
        assert done.returncode in (SIGKILLED, 0), done.stdout
        if (finished := ledger.newest_hour(self.settings, "build_features")) > self.newest:
            self._took(finished)
        taken = self.model.files()
        for hour in left:
            if hour > self.newest and hour not in self.frozen and ledger.frozen(self.settings, "ingest", hour):
                self.frozen[hour] = taken

    @precondition(lambda self: in_time(self) and self.newest > START)
    @rule(back=st.integers(0, 3), mended=st.booleans())
    def run_an_old_hour_again(self, back, mended):
        hour = max(START, shift(self.newest, -back))
        with pytest.MonkeyPatch.context() as patch:
            if mended:
                code = f"mended {next(NUMBERS)}"
                for module in (step, build_features):
                    patch.setattr(module, "code_version", lambda: code)
            made_by = ledger.last_done(self.settings, "build_features", hour).code_version  # a mend before may have made it, or its refold
            expected = "unchanged" if made_by == step.code_version() else "done"
            assert build_features.run(self.settings, hour).status == expected
        self.check()

    @precondition(lambda self: in_time(self) and self.newest > START)
    @rule(first=st.integers(0, 3), hours=st.integers(1, 3))
    def rebuild(self, first, hours):
        begin = max(START, shift(self.newest, -first))
        rebuild.run(self.settings, rebuild.hours_to_rebuild(self.settings, begin, min(self.newest, shift(begin, hours - 1))))
        self.check()

    @precondition(lambda self: in_time(self) and self.grown)
    @rule()
    def maintain(self):
        self.grown = False
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maintain_tables, "FILES_A_PARTITION", 0)
            assert maintain_tables.run(self.settings).status == "done"
        self.check()

    def check(self):
        """Every table that says something of the log, by delta-rs; a killed pass may have left more than it finished."""
        if any(hour > self.newest for hour in self.frozen):
            return
        for kind in KINDS:
            found = Counter((row["event_id"], row["hour"], row["user_id"], row["item_id"], row["ts"]) for row in rows(self.settings, kind))
            assert found == self.events(kind), kind
        refused = rows(self.settings, "quarantine")
        found = Counter((row["hour"], row["source_file"], row["line"], row["reason"], row["raw"]) for row in refused)
        assert found == self.model.refused
        self.check_counters()
        self.check_examples()
        assert [str(finding) for finding in verify(self.settings).findings] == []

    def events(self, kind):
        taken = self.model.taken[kind].items()
        return Counter((name, hour, e["user_id"], e["item_id"], ts_of(e)) for name, (hour, e) in taken)

    def check_counters(self):
        for key, increments, cache in (("user_id", "user_hour", "user_features"), ("item_id", "item_hour", "item_features")):
            hourly, folded = rows(self.settings, increments), rows(self.settings, cache)
            for kind, name, half_life in COUNTERS:
                expected = self.model.counter(key, kind, half_life)
                assert {(row[key], row["hour"]): row[name] for row in hourly} == pytest.approx(expected, abs=1e-9)
                values = self.model.folded(key, kind, half_life)
                assert {row[key]: row["as_of"] for row in folded} == {one: at for one, (at, _) in values.items()}
                assert {row[key]: row[name] for row in folded} == pytest.approx({k: v for k, (_, v) in values.items()}, abs=1e-9)
            assert len(hourly) == len({(row[key], row["hour"]) for row in hourly}) and len(folded) == len({row[key] for row in folded})

    def check_examples(self):
        found = sorted((row for row in rows(self.settings, "training_examples") if row["hour"] > START), key=lambda row: row["revision"])
        first = {row["example_id"]: row["labels"]["click"] for row in found if row["revision"] == 0}
        last = {row["example_id"]: row["labels"]["click"] for row in found}
        assert {name: (first.get(name), last[name]) for name in last} == self.model.examples(START)


NUMBERS = count()


def rows(settings, table):
    return DeltaTable(str(settings.warehouse / table)).to_pyarrow_table().to_pylist()


@pytest.fixture(scope="module")
def first_load(tmp_path_factory, spark_server):
    """A root whose first load of five items and six ratings is done; its log says what is shown."""
    home = tmp_path_factory.mktemp("log")
    lake = f"lake: {{start_hour: {START}, now: loop, refused_share: 1.0}}"
    (home / "recloop.yaml").write_text(f"{lake}\nspark: {{remote: '{spark_server}'}}\n")
    land(home, "items", "catalogue", [{"item_id": f"m{n}", "title": f"Film {n}"} for n in range(5)])
    land(home, "feedback", "history", [
        {"event_id": f"h{n}", "user_id": f"u{n % 2}", "item_id": f"m{n % 5}", "ts": f"{START}:0{n}:00Z", "type": "rating", "value": 5}
        for n in range(6)
    ])  # fmt: skip
    shown = {"event_id": "i0", "request_id": "r", "user_id": "u9", "item_id": "m0", "position": 0, "ts": f"{START}:00:00Z"}
    land(home, "impressions", "history", [shown])
    settings = load_settings(home, {})
    assert build_features.run(settings, START).status == "done"
    return settings


@pytest.mark.faults
def test_the_tables_are_what_a_plain_model_of_the_log_says(first_load, tmp_path):
    global UNTIL
    UNTIL = time.monotonic() + PATIENCE_S
    bounded = hypothesis.settings(
        max_examples=20, stateful_step_count=8, deadline=None, database=None, report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(lambda: Log(first_load, tmp_path), settings=bounded)
