"""The very pieces of code in docs/reading-scores.md, run on a small table: all engines agree, with rows written here."""

import re
import threading
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipelines.lake.tables import create_spark_tables, table_path
from pipelines.lake.writes import replace_changed
from spark_jobs.contracts import DEFAULT_USER, TABLES

HOUR = "2026-11-10T08"
PAGE = (Path(__file__).parents[1] / "docs" / "reading-scores.md").read_text(encoding="utf-8")
ENGINES = ("delta-rs", "duckdb", "polars", "spark")
FIRST = {DEFAULT_USER: {0: "z", 1: "y"}, "u": {0: "a", 1: "b", 2: "c"}, "v": {0: "a", 1: "d"}}
LATER = {DEFAULT_USER: {0: "z", 1: "y"}, "u": {0: "a", 2: "c"}, "v": {0: "a", 1: "e"}, "w": {0: "d"}}


def pieces():
    """Code by section and by what runs it."""
    found = defaultdict(dict)
    for section in PAGE.split("\n## ")[1:]:
        for name, code in re.findall(r"```python (\S+)\n(.*?)```", section, flags=re.S):
            assert name not in found[section.splitlines()[0]]
            found[section.splitlines()[0]][name] = code
    return found


NOW, SLATE, PINNED, CHANGED = pieces().values()


@pytest.fixture
def scores(loop_settings, spark, tmp_path, monkeypatch):
    """Publishes slates into the root ``.recloop`` of the working directory, which is where the page reads."""
    settings = loop_settings(".recloop")
    create_spark_tables(spark, settings)
    monkeypatch.chdir(tmp_path)
    duckdb.sql("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")

    def publish(slates, hour=HOUR):
        about = {"surface": "home", "score": 0.5, "propensity": 0.5, "arm": "production", "source": "policy", "release_id": "r000001",
                 "versions": {"encoder": "1", "ranker": "1", "policy": "1"}, "hour": hour, "generated_at": datetime.now(UTC)}  # fmt: skip
        rows = [
            about | {"user_id": user, "slate_id": f"s-{user}", "position": position, "item_id": item}
            for user, slate in slates.items() for position, item in slate.items()
        ]  # fmt: skip
        frame = spark.createDataFrame(pa.Table.from_pylist(rows, schema=TABLES["scores"].schema))
        return replace_changed(frame, settings, "scores", [hour], "score_users", besides=["generated_at"])

    publish.settings = settings
    return publish


@pytest.fixture
def run(spark):
    return lambda code: exec(code, names := {"spark": spark}) or names


def dicts(rows):
    """Rows of any engine."""
    if isinstance(rows, pl.DataFrame):
        return rows.to_dicts()
    return (rows if isinstance(rows, pa.Table) else rows.toArrow()).to_pylist()


def by_user(rows):
    found = defaultdict(dict)
    for row in dicts(rows):
        found[row["user_id"]][row["position"]] = row["item_id"]
    return dict(found)


def test_every_engine_reads_the_rows_in_force_and_a_slate_or_the_default_one(scores, run):
    scores(FIRST)
    scores(LATER)
    assert set(NOW) == set(SLATE) == set(ENGINES)
    whole = {}
    for engine in ENGINES:
        whole[engine] = sorted(dicts(run(NOW[engine])["rows"]), key=lambda row: (row["user_id"], row["position"]))
        assert by_user(run(NOW[engine])["rows"]) == LATER, engine
        slate_of = run(SLATE[engine])["slate_of"]
        for user, slate in [("u", {0: "a", 2: "c"}), ("w", {0: "d"}), ("nobody", LATER[DEFAULT_USER]), (DEFAULT_USER, LATER[DEFAULT_USER])]:
            found = dicts(slate_of(user))
            assert [(row["position"], row["item_id"]) for row in found] == list(slate.items()), (engine, user)
        assert dicts(slate_of("u", surface="cart")) == []
    assert all(rows == whole["delta-rs"] for rows in whole.values()), "every column, times and structs too"


def test_a_pinned_version_stays_as_it_was_while_others_are_published(scores, run):
    scores(FIRST)
    pinned = {engine: run(PINNED[engine]) for engine in ENGINES}
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set() or len(seen) < 3:
            version = pinned["delta-rs"]["version"]
            seen.append(by_user(DeltaTable(".recloop/warehouse/scores", version=version).to_pyarrow_table()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(4):
            scores(LATER if number % 2 == 0 else {DEFAULT_USER: {0: "q"}}, f"2026-11-10T{9 + number:02d}")
    finally:
        stop.set()
        reader.join()
    assert all(found == FIRST for found in seen)
    for engine in ENGINES:
        assert by_user(pinned[engine]["pinned"]) == FIRST, f"{engine}, read after it"
    versions = {names["version"] for names in pinned.values()}
    assert len(versions) == 1 and DeltaTable(".recloop/warehouse/scores").version() == versions.pop() + 4


def test_a_copy_follows_the_change_feed_of_both_engines(scores, run, spark):
    since = scores(FIRST)
    delta_rs, by_spark, follow = (run(CHANGED[name]) for name in ("delta-rs", "spark", "follow"))
    mark = (DeltaTable(".recloop/warehouse/scores").metadata().id, since)
    assert delta_rs["changes_after"](mark) == ([], mark)
    copy = {(user, "home", position): item for user, slate in FIRST.items() for position, item in slate.items()}
    middle = scores(FIRST | {"u": {0: "b", 1: "a"}})
    version = scores(LATER)
    changes, now = delta_rs["changes_after"](mark)
    assert now == (mark[0], version) and version == middle + 1 == since + 2
    said = sorted((row["_commit_version"], row["_change_type"], row["user_id"], row["position"], row["item_id"]) for row in changes)
    assert said == [
        (middle, "delete", "u", 2, "c"),
        (middle, "update_postimage", "u", 0, "b"), (middle, "update_postimage", "u", 1, "a"),
        (middle, "update_preimage", "u", 0, "a"), (middle, "update_preimage", "u", 1, "b"),
        (version, "delete", "u", 1, "a"), (version, "insert", "u", 2, "c"), (version, "insert", "w", 0, "d"),
        (version, "update_postimage", "u", 0, "a"), (version, "update_postimage", "v", 1, "e"),
        (version, "update_preimage", "u", 0, "b"), (version, "update_preimage", "v", 1, "d"),
    ]  # fmt: skip
    other = by_spark["changes_after"](since, version)
    names = ("_commit_version", "_change_type", "user_id", "position", "item_id")
    assert sorted(tuple(row[name] for name in names) for row in other) == said
    for found in (changes, other):
        followed = dict(copy)
        follow["follow"](followed, found)
        assert followed == {(user, "home", position): item for user, slate in LATER.items() for position, item in slate.items()}


def test_where_the_feed_is_gone_all_rows_are_to_be_read(scores, run):
    since = scores(FIRST)
    changes_after = run(CHANGED["delta-rs"])["changes_after"]
    version = scores(FIRST | {"u": {0: "b"}})
    here = DeltaTable(".recloop/warehouse/scores").metadata().id
    assert changes_after(("another table", version)) == (None, (here, version))
    for file in (table_path(scores.settings, "scores") / "_change_data").rglob("*.parquet"):
        file.unlink()
    assert changes_after((here, since)) == (None, (here, version)), "as maintenance leaves it after 7 days"
