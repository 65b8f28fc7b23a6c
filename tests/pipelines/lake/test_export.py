"""The exported file against the table, read by other readers."""

import csv
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from pipelines.errors import UserError
from pipelines.lake.export import current_scores, write_rows
from pipelines.settings import load_settings
from spark_jobs.contracts import TABLES

ROW = {
    "surface": "home", "score": 0.25, "propensity": 0.125, "slate_id": "s", "arm": "production", "source": "policy", "reason": None,
    "release_id": "r000002", "versions": {"encoder": "e1", "ranker": "7", "policy": "8"}, "hour": "2026-11-10T08",
    "generated_at": datetime(2026, 11, 10, 9, tzinfo=UTC),
}  # fmt: skip


@pytest.fixture
def scored(tmp_path):
    settings = load_settings(tmp_path / "root", {})
    keys = [("u2", 0, "ä"), ("u1", 1, "b,c"), ("u1", 0, 'd"')]
    rows = [ROW | {"user_id": user, "position": at, "item_id": item} for user, at, item in keys]
    write_deltalake(str(settings.warehouse / "scores"), pa.Table.from_pylist(rows, schema=TABLES["scores"].schema))
    return settings


def export(settings, kind, output):
    write_rows(current_scores(settings), kind, output)


WANTED = [("u1", 0, 'd"'), ("u1", 1, "b,c"), ("u2", 0, "ä")]


def test_parquet_has_the_rows_in_order_with_their_types(scored, tmp_path):
    export(scored, "parquet", tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["user_id"], row["position"], row["item_id"]) for row in rows] == WANTED
    assert rows[0] == ROW | {"user_id": "u1", "position": 0, "item_id": 'd"'}


def test_csv_quotes_and_flattens_the_versions(scored, tmp_path):
    export(scored, "csv", tmp_path / "out.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text(encoding="utf-8"))))
    assert [(row["user_id"], int(row["position"]), row["item_id"]) for row in rows] == WANTED
    assert (rows[0]["ranker_version"], rows[0]["policy_version"], rows[0]["reason"]) == ("7", "8", "")


def test_csv_refuses_lists(tmp_path):
    with pytest.raises(UserError, match="CSV has no place for the lists candidates; choose --format parquet or jsonl"):
        write_rows(pa.table({"item": ["a"], "candidates": [["a", "b"]]}), "csv", tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_json_lines_are_one_object_each(scored, tmp_path):
    export(scored, "jsonl", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["user_id"], row["position"], row["item_id"]) for row in rows] == WANTED
    assert datetime.fromisoformat(rows[0]["generated_at"]) == ROW["generated_at"]
    assert rows[0]["versions"] == ROW["versions"]


def test_an_older_file_is_replaced_whole_and_nothing_else_is_left(scored, tmp_path):
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "out.csv").write_text("old")
    export(scored, "csv", folder / "out.csv")
    assert [path.name for path in folder.iterdir()] == ["out.csv"]
    assert "old" not in (folder / "out.csv").read_text()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_folder_that_is_not_there_is_one_line(scored, tmp_path, kind):
    with pytest.raises(UserError, match=r"cannot write .*nowhere.*; choose another --output"):
        export(scored, kind, tmp_path / "nowhere" / "out")


def test_an_output_that_is_a_folder_leaves_nothing_behind(scored, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(UserError):
        export(scored, "csv", folder)
    assert not list(tmp_path.glob(".folder*"))
