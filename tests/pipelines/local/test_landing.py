"""Landing files: the same bytes for the same records, complete or not there, and never another content."""

import gzip
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from pipelines.errors import UserError
from pipelines.local.landing import event_id, iso, pack, unpack, write_file, write_once


def test_equal_records_give_equal_bytes_that_any_reader_reads(tmp_path):
    records = [{"a": 1, "text": "ä\n"}, {"a": None}]
    assert pack(records) == pack([dict(record) for record in records])
    (tmp_path / "x.gz").write_bytes(pack(records))
    text = gzip.decompress((tmp_path / "x.gz").read_bytes()).decode()
    assert [json.loads(line) for line in text.splitlines()] == records
    assert unpack(tmp_path / "x.gz") == records


def test_a_file_that_is_there_is_left_alone_or_refused(tmp_path):
    path = tmp_path / "folder" / "x"
    write_once(path, b"one")
    written = path.stat().st_mtime_ns
    write_once(path, b"one")
    assert path.stat().st_mtime_ns == written
    with pytest.raises(UserError, match="never changes"):
        write_once(path, b"two")
    assert path.read_bytes() == b"one"


def test_replacing_leaves_no_unfinished_file(tmp_path):
    write_file(tmp_path / "x", b"one")
    write_file(tmp_path / "x", b"two")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"two")]


def test_event_ids_are_sha_256_of_the_parts_and_keep_them_apart():
    assert event_id("a", 1) == hashlib.sha256(b"a\x1f1").hexdigest()[:32]
    assert event_id("ab", "c") != event_id("a", "bc")


def test_times_are_iso_8601_in_utc_to_the_millisecond():
    ts = datetime(2026, 11, 10, 8, 5, 7, 123_000, tzinfo=UTC)
    assert iso([ts.timestamp()]) == ["2026-11-10T08:05:07.123+00:00"]
    assert datetime.fromisoformat(iso([ts.timestamp()])[0]) == ts


FULL = """
import resource, sys
from pathlib import Path
from pipelines.local.landing import write_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_file(Path(sys.argv[1]), b"x" * 5000)
"""


def test_a_disk_that_is_full_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path):
    path = tmp_path / "a.jsonl"
    write_file(path, b"old")
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "File too large" in done.stderr
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.jsonl", b"old")]
