"""Landing files to features on the real server: each record once, whatever is repeated, late, refused or run again."""

import gzip
import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from operator import itemgetter

import numpy as np
import pytest
from deltalake import DeltaTable

from models.encoder import Encoder
from pipelines import cli
from pipelines.errors import TransientError, UserError
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.lake.quarantine import refused, replay
from pipelines.lake.tables import table_version
from pipelines.local.verification import verify
from pipelines.settings import Source, load_settings
from pipelines.steps import build_features, maintain_tables, rebuild, state, step
from spark_jobs.contracts import COUNTERS, TABLES

START = "2026-11-10T08"
FIRST, SECOND, THIRD = (shift(START, n) for n in (1, 2, 3))


def at(hour, minute=10):
    return (parse_hour(hour) + timedelta(minutes=minute)).isoformat()


def land(settings, kind, name, records):
    path = settings.landing / kind / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))


def impression(number, hour, user="u1", minute=10):
    return {"event_id": f"i{number}", "request_id": f"r{number}", "user_id": user, "item_id": f"m{number % 5}", "position": 0,
            "ts": at(hour, minute)}  # fmt: skip


def click(number, hour, user="u1", minute=12):
    about = {"request_id": f"r{number}", "user_id": user, "item_id": f"m{number % 5}"}
    return {"event_id": f"c{number}", **about, "ts": at(hour, minute), "type": "click"}


@pytest.fixture(scope="module")
def first_load(tmp_path_factory, spark_server):
    """The folder of a root whose first load of five items and six ratings is done."""
    home = tmp_path_factory.mktemp("first-load")
    (home / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\n")
    settings = load_settings(home, {"RECLOOP__SPARK__REMOTE": spark_server})
    items = [{"item_id": f"m{n}", "title": f"Film {n}", "attributes": {"duration_s": "100"}} for n in range(5)]
    land(settings, "items", "catalogue", items)
    ratings = [(f"u{n % 2}", f"m{n % 5}", 5 if n % 3 else 2) for n in range(6)]
    land(settings, "feedback", "history", [
        {"event_id": f"h{n}", "user_id": user, "item_id": item, "ts": at(START, n), "type": "rating", "value": stars}
        for n, (user, item, stars) in enumerate(ratings)
    ])  # fmt: skip
    assert build_features.run(settings, START).status == "done"
    return home


@pytest.fixture
def make_root(tmp_path, first_load, spark_server):
    """A copy of it."""

    def make(name):
        shutil.copytree(first_load, tmp_path / name)
        return load_settings(tmp_path / name, {"RECLOOP__SPARK__REMOTE": spark_server})

    return make


@pytest.fixture
def root(make_root):
    return make_root("root")


def rows(settings, table):
    return DeltaTable(str(settings.warehouse / table)).to_pyarrow_table().to_pylist()


def content(settings):
    """Every row of the data tables, as multisets."""
    names = ("impressions", "feedback", "training_examples", "user_hour", "item_hour", "item_embeddings", "query_embeddings")
    return {name: Counter(str(sorted(row.items(), key=str)) for row in rows(settings, name)) for name in names}


def assert_same_caches(left, right):
    """The same keys, instants and histories, and counters within 1e-9."""
    for table, key in (("user_features", "user_id"), ("item_features", "item_id")):
        assert [row[key] for row in left[table]] == [row[key] for row in right[table]]
        for one, two in zip(left[table], right[table], strict=True):
            assert one["as_of"] == two["as_of"] and one.get("recent") == two.get("recent")
            assert [one[name] for name in COUNTERS] == pytest.approx([two[name] for name in COUNTERS], abs=1e-9)


def numbers(value):
    """The value with its floats taken out, and those floats in order."""
    if isinstance(value, float):
        return None, [value]
    if isinstance(value, dict | list):
        parts = [numbers(part) for part in (value.values() if isinstance(value, dict) else value)]
        names = list(value) if isinstance(value, dict) else None
        return (names, [plain for plain, _ in parts]), [number for _, found in parts for number in found]
    return value, []


def assert_same_rows(left, right):
    """The same rows in any order, floats within 1e-9."""
    for table in left:
        one, two = (sorted(map(numbers, rows), key=str) for rows in (left[table], right[table]))
        assert [plain for plain, _ in one] == [plain for plain, _ in two], table
        assert [found for _, floats in one for found in floats] == pytest.approx([f for _, floats in two for f in floats], abs=1e-9)


def derived(settings):
    return {name: rows(settings, name) for name in ("training_examples", "user_hour", "item_hour", "item_embeddings")}


def caches(settings):
    keys = {"user_features": "user_id", "item_features": "item_id"}
    return {table: sorted(rows(settings, table), key=itemgetter(key)) for table, key in keys.items()}


def hours_of(settings, table):
    return {row["event_id"]: row["hour"] for row in rows(settings, table)}


def test_each_record_is_taken_once_and_late_ones_join_the_first_open_hour(root, monkeypatch):
    land(root, "impressions", "one", [impression(1, FIRST), impression(2, FIRST), impression(3, SECOND)])
    land(root, "feedback", "one", [click(1, FIRST)])
    build_features.run(root, FIRST)
    assert hours_of(root, "impressions") == {"i1": FIRST, "i2": FIRST}, "an hour takes no record of a later one"
    before = content(root)
    assert build_features.run(root, FIRST).status == "unchanged"
    assert content(root) == before

    land(root, "impressions", "late", [impression(4, FIRST, minute=40)])
    land(root, "impressions", "again", [impression(1, FIRST), impression(3, SECOND)])
    land(root, "feedback", "late", [click(2, SECOND, minute=2)])
    build_features.run(root, SECOND)
    assert hours_of(root, "impressions") == {"i1": FIRST, "i2": FIRST, "i3": SECOND, "i4": SECOND}
    late = {(row["name"], row["subject"]): (row["value"], row["n"]) for row in rows(root, "metrics") if row["hour"] == SECOND}
    assert late["hours_late_p50", "impressions"] == (0.0, 2) and late["hours_late_p99", "impressions"] == (1.0, 2)
    examples = {(row["example_id"], row["revision"]): row for row in rows(root, "training_examples") if row["hour"] != START}
    assert set(examples) == {("i1", 0), ("i2", 0), ("i3", 0), ("i4", 0), ("i2", 1)}
    assert examples["i1", 0]["labels"]["click"] == 1.0 and examples["i2", 0]["labels"]["click"] == 0.0
    assert examples["i2", 1]["labels"]["click"] == 1.0 and examples["i2", 1]["previous_labels"]["click"] == 0.0
    known = [row["user"]["clicks_24h"] for (name, _), row in examples.items() if name in ("i1", "i2")]
    assert not any(known), "only what was known before the hour"

    whole, folded = content(root), caches(root)
    for module in (step, build_features):
        monkeypatch.setattr(module, "code_version", lambda: "mended")
    assert build_features.run(root, FIRST).status == "done"
    assert content(root) == whole, "other code with the same outcome: the same rows, nothing doubled"
    assert_same_caches(caches(root), folded)


@pytest.mark.faults
def test_hours_that_were_taken_together_are_run_again_together(root, monkeypatch):
    events = [impression(1, FIRST), impression(1, FIRST, "other"), impression(2, SECOND), *(impression(n, FIRST) for n in range(10, 50))]
    land(root, "impressions", "both", [*events, '{"user_id": "u1"}'])
    build_features.run(root, SECOND)
    refused, before = rows(root, "quarantine"), content(root)
    assert sorted((row["reason"], row["hour"]) for row in refused) == [("duplicate_conflict", SECOND), ("missing_key", SECOND)]
    for module in (step, build_features):
        monkeypatch.setattr(module, "code_version", lambda: "mended")
    assert build_features.run(root, FIRST).status == "done"
    assert sorted(map(str, rows(root, "quarantine"))) == sorted(map(str, refused)), "each refused record once"
    assert content(root) == before
    assert verify(root).findings == []


@pytest.mark.faults
def test_a_mend_of_the_code_with_another_outcome_lands_and_so_does_its_return(root, monkeypatch):
    two_hours(root)
    whole, events = content(root), state.events
    with monkeypatch.context() as patch:
        patch.setattr(state, "events", lambda *arguments: events(*arguments).where("item_id <> 'm1'"))
        for module in (step, build_features):
            patch.setattr(module, "code_version", lambda: "wrong")
        assert build_features.run(root, FIRST).status == "done"
        assert {row["item_id"] for row in rows(root, "item_hour") if row["hour"] == FIRST} == {"m2"}
    assert build_features.run(root, FIRST).status == "done"
    assert content(root) == whole
    assert verify(root).findings == []


def test_two_hours_in_one_pass_are_the_same_as_one_after_the_other(make_root, monkeypatch):
    root, other = make_root("one"), make_root("other")
    for settings, hours_a_pass in ((root, 1), (other, 1000)):
        monkeypatch.setattr(build_features, "HOURS_A_PASS", hours_a_pass)
        shown = ((1, FIRST, "red shoes"), (2, FIRST, " red\nshoes"), (3, SECOND, "red shoes"), (4, SECOND, "a hat"), (6, SECOND, None))
        land(settings, "impressions", "both", [impression(n, hour) | {"query": query} for n, hour, query in shown])
        land(settings, "feedback", "both", [click(1, FIRST), click(2, SECOND, minute=3), click(3, SECOND)])
        build_features.run(settings, SECOND)
    first, both = (ledger.pass_end(settings, ledger.last_done(settings, "build_features", FIRST)) for settings in (root, other))
    assert (first, both) == (FIRST, SECOND)
    one, two = content(root), content(other)
    for table in ("impressions", "feedback", "training_examples", "user_hour", "item_hour", "item_embeddings", "query_embeddings"):
        assert one[table] == two[table], table
    asked = {row["query"]: row["vector"] for row in rows(root, "query_embeddings")}
    assert len(one["query_embeddings"]) == 2 and set(asked) == {"red shoes", "a hat"}
    assert np.allclose(list(asked.values()), Encoder.load().encode(list(asked)), atol=1e-5)
    searched = {row["example_id"]: row["query"] for row in rows(root, "training_examples") if row["hour"] != START}
    assert searched == {"i1": "red shoes", "i2": "red shoes", "i3": "red shoes", "i4": "a hat", "i6": None}
    assert_same_caches(caches(root), caches(other))


def test_refused_records_are_kept_with_their_reason_and_too_many_stop_the_hour(root):
    good = [impression(n, FIRST) for n in range(40)]
    odd = '{"user_id": "u1",  "item_id": "m1", "position": "first"}'
    other = json.dumps(impression(0, FIRST, "other"))
    land(root, "impressions", "mixed", [*good, odd, other])
    build_features.run(root, FIRST)
    found = sorted((row["line"], row["raw"].decode(), row["reason"], row["hour"]) for row in rows(root, "quarantine"))
    assert found == [(41, odd, "missing_key", FIRST), (42, other, "duplicate_conflict", FIRST)]
    assert {part.reason: part.sample for part in refused(root)} == {"missing_key": odd, "duplicate_conflict": other}
    before = content(root)
    land(root, "impressions", "bad", [impression(50, SECOND), odd, odd])
    with pytest.raises(UserError, match=r"66\.7% of 3 records refused \(missing_key 2\), at most 5\.0% allowed"):
        build_features.run(root, SECOND)
    assert content(root) == before
    assert ledger.rows(root, "ingest", SECOND)[-1].status == "failed"
    land(root, "impressions", "bad", [impression(50, SECOND)])
    assert build_features.run(root, SECOND).status == "done", "a file that was refused as a whole may be mended"
    assert hours_of(root, "impressions")["i50"] == SECOND


def test_what_was_refused_is_explained_and_taken_once_after_a_mend(root):
    long = impression(60, FIRST) | {"query": "x" * 3000}
    good = [impression(n, FIRST) for n in range(40)]
    strict = root.model_copy(update={"lake": root.lake.model_copy(update={"max_record_bytes": 2000})})
    land(root, "impressions", "mixed", [*good, long, '{"user_id": "u1"}'])
    build_features.run(strict, FIRST)
    found = {part.reason: part for part in refused(root)}
    assert set(found) == {"oversized", "missing_key"} and found["missing_key"].sample == '{"user_id": "u1"}'
    assert found["oversized"].line == 41 and "longer than" in found["oversized"].meaning
    (name,) = replay(root, reason="oversized")
    assert replay(root, reason="oversized") == {name: 1}
    land(root, "impressions", "next", [impression(n, SECOND) for n in range(70, 110)])
    build_features.run(root, SECOND)
    assert hours_of(root, "impressions")["i60"] == SECOND
    assert [row["query"] for row in rows(root, "impressions") if row["event_id"] == "i60"] == ["x" * 3000]


def test_rebuilt_hours_say_what_the_hourly_runs_said(root):
    third = shift(START, 3)
    land(root, "impressions", "one", [impression(1, FIRST), impression(2, FIRST, "u0"), impression(3, SECOND), impression(4, third, "u0")])
    land(root, "feedback", "one", [click(1, FIRST)])
    build_features.run(root, FIRST)
    land(root, "feedback", "late", [click(2, SECOND, "u0", minute=2), click(3, SECOND)])
    build_features.run(root, SECOND)
    land(root, "feedback", "later", [click(4, third, "u0")])
    build_features.run(root, third)
    before, folded = derived(root), caches(root)
    sources = {name: DeltaTable(str(root.warehouse / name)).version() for name in ("impressions", "feedback", "items", "quarantine")}
    for first, last in ((START, None), (FIRST, FIRST)):
        hours = rebuild.hours_to_rebuild(root, first, last)
        planned = {part.table: part.rows for part in rebuild.plan(root, hours)}
        assert planned["user_features"] == len(folded["user_features"])
        assert rebuild.run(root, hours).detail == "refolded from all increments"
        assert_same_rows(derived(root), before)
        assert_same_caches(caches(root), folded)
    assert {name: DeltaTable(str(root.warehouse / name)).version() for name in sources} == sources
    at_first = ledger.last_done(root, "build_features", FIRST).outputs["user_features"]
    known = DeltaTable(str(root.warehouse / "user_features"), version=at_first).to_pyarrow_table()["as_of"].to_pylist()
    assert max(known) == end_of(FIRST), "the row of an hour names the caches as of that hour"
    with pytest.raises(UserError, match="was never ingested; choose hours from"):
        rebuild.hours_to_rebuild(root, START, shift(third, 1))


def test_a_log_that_never_says_what_was_shown_teaches_hour_by_hour_and_the_same_in_one_pass(make_root):
    one, both = make_root("one"), make_root("both")
    for settings in (one, both):
        land(settings, "feedback", "one", [click(1, FIRST), click(2, SECOND, "u0"), click(3, SECOND, "stranger"), click(8, SECOND)])
        land(settings, "impressions", "begin", [impression(9, THIRD)])
        land(settings, "feedback", "shown", [click(9, THIRD), click(4, THIRD)])
    build_features.run(one, FIRST)
    build_features.run(one, SECOND)
    build_features.run(one, THIRD)
    build_features.run(both, THIRD)
    assert [row["example_id"] for row in rows(one, "training_examples") if row["hour"] == THIRD] == ["i9"], "from then on what was shown"
    found = [row for row in rows(one, "training_examples") if row["hour"] in (FIRST, SECOND)]
    positives = {row["example_id"]: (row["user_id"], row["hour"]) for row in found if row["negative_source"] is None}
    assert positives == {"c1": ("u1", FIRST), "c2": ("u0", SECOND), "c3": ("stranger", SECOND), "c8": ("u1", SECOND)}
    assert {row["known_at"] for row in found if row["hour"] == SECOND} == {parse_hour(SECOND)}, "nothing of the hour itself is known"
    sampled = [row for row in found if row["negative_source"] == "sampled"]
    met = [(row["user_id"], row["item_id"], row["hour"]) for row in rows(one, "feedback")]
    assert sampled
    for row in sampled:
        assert not [hour for user, item, hour in met if (user, item) == (row["user_id"], row["item_id"]) and hour <= row["hour"]]
    assert all(row["propensity"] is None and row["slate_id"] is None for row in found)
    assert_same_rows(derived(one), derived(both))


def test_an_hour_waits_for_its_producers_mark(root):
    marked = root.model_copy(update={"lake": root.lake.model_copy(update={"hour_done": ("impressions",)})})
    land(root, "impressions", "one", [impression(1, FIRST)])
    with pytest.raises(TransientError, match=f"hour {FIRST} is not complete: no impressions/_HOUR_DONE-{FIRST} in landing"):
        build_features.run(marked, FIRST)
    assert not ledger.rows(root, hour=FIRST)
    (root.landing / "impressions" / f"_HOUR_DONE-{FIRST}").touch()
    assert build_features.run(marked, FIRST).status == "done"
    assert hours_of(root, "impressions") == {"i1": FIRST}


def test_an_hour_takes_the_objects_of_a_store_once_its_mark_is_there_too(root, tmp_path):
    store = tmp_path / "store"
    lake = root.lake.model_copy(update={"hour_done": ("impressions",), "sources": (Source(kind="impressions", uri=store.as_uri()),)})
    pulled = root.model_copy(update={"lake": lake})
    land(root.model_copy(update={"home": store}), "x", "one", [impression(1, FIRST)])
    with pytest.raises(TransientError, match=f"no impressions/_HOUR_DONE-{FIRST} in landing"):
        build_features.run(pulled, FIRST)
    (store / f"_HOUR_DONE-{FIRST}").touch()
    assert build_features.run(pulled, FIRST).status == "done"
    assert hours_of(root, "impressions") == {"i1": FIRST}
    assert [path.name.split("-", 3)[3] for path in (root.landing / "impressions").glob("object-*")] == ["landing__x__one.jsonl"]


@pytest.mark.parametrize("name", ["torn.jsonl.gz", "torn.parquet"])
def test_a_file_that_ends_too_early_is_named_and_nothing_is_frozen(root, name):
    path = root.landing / "impressions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"{}" * 100)[:-9] if name.endswith("gz") else b"PAR1 not")
    with pytest.raises(UserError, match=f"impressions/{name} cannot be read to its end"):
        build_features.run(root, FIRST)
    path.unlink()
    land(root, "impressions", "whole", [impression(1, FIRST)])
    assert build_features.run(root, FIRST).status == "done"


def test_a_file_that_changes_after_it_was_taken_is_named(root, monkeypatch):
    land(root, "impressions", "one", [impression(1, FIRST)])
    build_features.run(root, FIRST)
    before = content(root)
    land(root, "impressions", "one", [impression(1, FIRST), impression(2, FIRST)])
    for module in (step, build_features):
        monkeypatch.setattr(module, "code_version", lambda: "other")
    with pytest.raises(UserError, match=r"impressions/one\.jsonl changed after it was taken"):
        build_features.run(root, FIRST)
    assert content(root) == before


def test_too_many_missing_hours_name_the_backfill(root):
    with pytest.raises(UserError, match=f"recloop backfill --from {FIRST}"):
        build_features.run(root, shift(START, 60))
    with pytest.raises(UserError, match=r"2 hours are missing .* at most 1 are brought in by this run"):
        build_features.run(root, SECOND, at_most=1)


def test_every_commit_of_a_table_is_by_the_engine_of_its_contract(root):
    for path in root.warehouse.iterdir():
        table = DeltaTable(str(path))
        engines = {commit.get("engineInfo", commit.get("clientVersion", "")) for commit in table.history()}
        word = "Spark" if TABLES[path.name].engine == "spark" else "delta-rs"
        assert all(word.lower() in str(engine).lower() for engine in engines), (path.name, engines)
        features = set(table.protocol().reader_features or []) | set(table.protocol().writer_features or [])
        assert features <= {"appendOnly", "invariants", "checkConstraints", "changeDataFeed"}, path.name


@pytest.fixture(scope="module")
def two_hours(tmp_path_factory, first_load, spark_server):
    """The folder of a root with two hours after its first load."""
    root = load_settings(shutil.copytree(first_load, tmp_path_factory.mktemp("two") / "hours"), {"RECLOOP__SPARK__REMOTE": spark_server})
    land(root, "impressions", "one", [impression(1, FIRST), impression(2, FIRST, "u0"), impression(3, SECOND)])
    land(root, "feedback", "one", [click(1, FIRST)])
    build_features.run(root, FIRST)
    land(root, "feedback", "late", [click(2, SECOND, "u0", minute=2), click(3, SECOND)])
    build_features.run(root, SECOND)
    return root.home


@pytest.fixture
def grown(two_hours, tmp_path, spark_server):
    """A copy of it."""
    return load_settings(shutil.copytree(two_hours, tmp_path / "grown"), {"RECLOOP__SPARK__REMOTE": spark_server})


def test_damaged_derived_tables_are_set_aside_and_made_again(grown, monkeypatch, capsys):
    assert verify(grown).findings == []
    before, folded = derived(grown), caches(grown)
    log = grown.warehouse / "training_examples" / "_delta_log"
    max(log.glob("*.json")).write_bytes(b"")
    next((grown.warehouse / "user_hour").glob(f"hour={FIRST}/*.parquet")).unlink()
    shutil.rmtree(grown.warehouse / "item_hour")
    damaged = sorted({finding.table for finding in verify(grown).findings})
    assert damaged == ["item_hour", "training_examples", "user_hour"]
    gone, _, lost = rebuild.plan_repair(grown, damaged)
    assert (gone.rows, str(gone)) == (None, "item_hour: all rows; its log cannot be read")
    assert (lost.rows, lost.version) == (len(before["user_hour"]), table_version(grown, "user_hour"))
    monkeypatch.setenv("RECLOOP_HOME", str(grown.home))
    monkeypatch.setattr(sys, "argv", ["recloop", "verify", "--repair", "--dry-run", "--json"])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    out, err = capsys.readouterr()
    assert sorted({finding["table"] for finding in json.loads(out)["findings"]}) == damaged, "JSON alone"
    assert err.startswith(f"would set aside and make again: 3 hours, {START} to {SECOND}\n") and str(lost) in err
    assert sorted({finding.table for finding in verify(grown).findings}) == damaged, "a dry run changes nothing"
    assert rebuild.repairable([*damaged, "slate_log"]) == damaged
    assert rebuild.repairable([*damaged, "feedback", "scores"]) == ["scores"], "not from a source that is damaged itself"
    rebuild.repair(grown, damaged)
    assert verify(grown).findings == []
    assert_same_rows(derived(grown), before)
    assert_same_caches(caches(grown), folded)
    land(grown, "impressions", "next", [impression(5, shift(START, 3))])
    assert build_features.run(grown, shift(START, 3)).status == "done"
    assert verify(grown).findings == []


def test_maintenance_changes_no_row_and_no_version_that_may_still_be_read(grown, monkeypatch):
    before, folded = derived(grown), caches(grown)
    pinned = ledger.last_done(grown, "build_features", FIRST).outputs["user_features"]
    as_of_first = DeltaTable(str(grown.warehouse / "user_features"), version=pinned).to_pyarrow_table().sort_by("user_id")
    todo = {part.table for part in maintain_tables.plan(grown) if part.any}
    assert todo <= {"ledger", "metrics"}, "in a young root only what gets a small file a commit"
    monkeypatch.setattr(maintain_tables, "FILES_A_PARTITION", 0)
    assert maintain_tables.run(grown).detail.startswith("0 partitions dropped")
    assert_same_rows(derived(grown), before)
    assert_same_caches(caches(grown), folded)
    assert DeltaTable(str(grown.warehouse / "user_features"), version=pinned).to_pyarrow_table().sort_by("user_id") == as_of_first
    assert verify(grown).findings == []


def test_maintenance_drops_the_hours_past_a_tables_retention_and_no_other(grown, monkeypatch):
    write_metrics(grown, FIRST, [Metric("figure", "old", 1.0)])
    write_metrics(grown, SECOND, [Metric("figure", "new", 1.0)])
    before = content(grown)
    for name in ("training_examples", "metrics"):
        monkeypatch.setitem(TABLES, name, replace(TABLES[name], retention_days=0))
    planned = {part.table: part for part in maintain_tables.plan(grown)}
    assert (planned["training_examples"].drop_before, planned["training_examples"].dropped) == (SECOND, 2)
    maintain_tables.run(grown)
    assert {row["hour"] for row in rows(grown, "training_examples")} == {row["hour"] for row in rows(grown, "metrics")} == {SECOND}
    kept = content(grown)
    assert {name: kept[name] for name in kept if name != "training_examples"} == {n: before[n] for n in before if n != "training_examples"}
    assert verify(grown).findings == []
    land(grown, "impressions", "next", [impression(5, shift(START, 3))])
    assert build_features.run(grown, shift(START, 3)).status == "done"
