"""The control tables under one writer, two writers, and many."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from pipelines.errors import UserError
from pipelines.lake import control
from pipelines.lake.control import append_rows, newest_version, read_rows, replace_rows
from pipelines.lake.tables import read_table, table_path

HOUR = "2026-11-10T08"


def figure(hour, name, value=0.0):
    return {"hour": hour, "name": name, "subject": "s", "slice": "all", "value": value}


def found(settings):
    return sorted((row["hour"], row["name"], row["value"]) for row in read_rows(settings, "metrics"))


def test_a_table_is_made_when_first_needed(settings):
    assert read_rows(settings, "metrics") == []
    assert newest_version(settings, "metrics") == 0
    assert append_rows(settings, "metrics", [figure(HOUR, "a"), figure(HOUR, "b")]) == 1
    assert DeltaTable(str(table_path(settings, "metrics"))).metadata().partition_columns == ["hour"]


def test_of_two_appends_onto_one_version_the_second_is_refused(settings):
    version = newest_version(settings, "metrics")
    append_rows(settings, "metrics", [figure(HOUR, "first")], onto=version)
    with pytest.raises(CommitFailedError):
        append_rows(settings, "metrics", [figure(HOUR, "second")], onto=version)
    assert [name for _, name, _ in found(settings)] == ["first"]
    append_rows(settings, "metrics", [figure(HOUR, "third")], onto=version + 1)
    assert [name for _, name, _ in found(settings)] == ["first", "third"]


def test_replacing_touches_what_matches_and_a_rerun_leaves_the_same(settings):
    other = "2026-11-10T09"
    append_rows(settings, "metrics", [figure(HOUR, "a", 1.0), figure(HOUR, "b", 1.0), figure(other, "a", 1.0)])
    for _ in range(2):
        replace_rows(settings, "metrics", [figure(HOUR, "a", 2.0)], f"hour = '{HOUR}' AND name = 'a'")
        assert found(settings) == [(HOUR, "a", 2.0), (HOUR, "b", 1.0), (other, "a", 1.0)]
    replace_rows(settings, "metrics", [], f"hour = '{HOUR}'")
    assert found(settings) == [(other, "a", 1.0)]


def test_no_commit_of_many_writers_is_lost(settings):
    newest_version(settings, "metrics")
    hours = [f"2026-11-10T{n:02d}" for n in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda hour: replace_rows(settings, "metrics", [figure(hour, "a")], f"hour = '{hour}'"), hours))
        list(pool.map(lambda hour: append_rows(settings, "metrics", [figure(hour, "b")]), hours))
    assert found(settings) == sorted((hour, name, 0.0) for hour in hours for name in "ab")


def test_many_small_files_become_few_and_keep_their_rows(settings, monkeypatch):
    monkeypatch.setattr(control, "COMPACT_ABOVE_FILES", 5)
    for number in range(9):
        append_rows(settings, "metrics", [figure(HOUR, f"n{number}")])
    assert len(DeltaTable(str(table_path(settings, "metrics"))).file_uris()) <= 5
    assert [name for _, name, _ in found(settings)] == [f"n{number}" for number in range(9)]


FULL = """
import resource, sys
from pathlib import Path
from pipelines.lake.control import append_rows, replace_rows
from pipelines.settings import load_settings
settings = load_settings(Path(sys.argv[1]), {})
row = {"hour": "2026-11-10T08", "name": "b", "subject": "s", "slice": "all", "value": 1.0}
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
if sys.argv[3] == "append":
    append_rows(settings, "metrics", [row])
else:
    replace_rows(settings, "metrics", [row], "name = 'b'")
"""


@pytest.mark.parametrize("room", [0, 300], ids=["none", "some"])
@pytest.mark.parametrize("how", ["append", "replace"])
def test_a_disk_that_is_full_is_an_error_and_no_commit(settings, room, how):
    append_rows(settings, "metrics", [figure(HOUR, "a")])
    command = [sys.executable, "-c", FULL, str(settings.home), str(room), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "File too large" in done.stderr, done
    assert newest_version(settings, "metrics") == 1 and found(settings) == [(HOUR, "a", 0.0)]
    append_rows(settings, "metrics", [figure(HOUR, "b")])
    assert [name for _, name, _ in found(settings)] == ["a", "b"]


def test_a_table_that_is_not_there_says_what_to_do(settings):
    with pytest.raises(UserError, match=r"table scores does not exist under .*; run `recloop demo`"):
        read_table(settings, "scores")
    with pytest.raises(UserError, match=r"unknown table 'score'; tables: .*scores"):
        read_table(settings, "score")
