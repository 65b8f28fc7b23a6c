"""Damage to data files: each kind is done to a sound root, and exactly it is named."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.lake.verify.files import LiveFile, check_files
from pipelines.lake.verify.findings import Findings
from spark_jobs.contracts import TABLES


def test_a_data_file_that_is_gone(root):
    path = root.data_files("impressions")[0]
    path.unlink()
    assert path.name in root.named("file", "impressions", "missing", "what was shown there").where


def test_a_data_file_that_was_cut(root):
    path = root.data_files("scores")[-1]
    files = {Path(uri).name for uri in root.table("scores").file_uris()}
    path = next(found for found in root.data_files("scores") if found.name in files)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-7])
    root.named("file", "scores", f"{size - 7} bytes", f"{size} bytes, 2 rows")


def test_bytes_of_the_same_length_that_are_others(root):
    path = root.data_files("slate_decisions")[0]
    content = bytearray(path.read_bytes())
    content[4:64] = b"\xff" * 60
    path.write_bytes(content)
    root.named("file", "slate_decisions", "cannot be read")


def test_one_bit_is_enough_where_pages_have_checksums(root, tmp_path):
    path = tmp_path / "f.parquet"
    rows = root.rows_of("item_features", [{"item_id": f"i{number}"} for number in range(500)])
    pq.write_table(rows, path, write_page_checksum=True, compression="none")
    whole = path.read_bytes()
    for place in (whole.index(b"i77") + 1, whole.index(b"i300")):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = Findings()
        content = check_files(found, TABLES["item_features"], [LiveFile(path, "f", len(whole), 500, {})])
        assert not content.whole and "cannot be read" in found.findings[0].found
    path.write_bytes(whole)
    found = Findings()
    assert check_files(found, TABLES["item_features"], [LiveFile(path, "f", len(whole), 500, {})]).rows == 500 and not found.findings


def test_statistics_that_count_other_rows(root):
    def claim(action):
        if "add" in action:
            action["add"]["stats"] = json.dumps({"numRecords": 9})

    root.edit_commit(root.commits("item_embeddings")[-1], claim)
    root.named("file", "item_embeddings", "2 rows", "9 rows")
