"""Reading as of an hour, on tables that later hours, reruns and rebuilds wrote to."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.snapshot import STATE, snapshot
from pipelines.lake.tables import table_path, table_version
from spark_jobs.contracts import TABLES

H8, H9, H10 = "2026-11-10T08", "2026-11-10T09", "2026-11-10T10"
CLOCK = datetime(2026, 11, 10, 12, tzinfo=UTC)


class Lake:
    """Item and user features of hours, written as the steps write them."""

    def __init__(self, settings):
        self.settings, self.time = settings, CLOCK

    def items(self, hour, *names):
        self._append("items", [{"item_id": name, "updated_hour": hour, "title": name, "available": True} for name in names])

    def done(self, step, *hours, tables=(), versions=None):
        self.time += timedelta(minutes=1)
        outputs = versions if versions is not None else {name: table_version(self.settings, name) for name in tables}
        rows = [
            LedgerRow(hour=hour, step=step, status="done", code_version="c", started_at=self.time, ended_at=self.time, outputs=outputs)
            for hour in hours
        ]
        ledger.write_rows(self.settings, rows)

    def _append(self, name, rows):
        write_deltalake(str(table_path(self.settings, name)), pa.Table.from_pylist(rows, schema=TABLES[name].schema), mode="append")

    def seen(self, hour):
        return sorted(snapshot(self.settings, hour).read(self.settings, "items")["item_id"].to_pylist())


@pytest.fixture
def lake(settings):
    lake = Lake(settings)
    for hour, name in ((H8, "a"), (H9, "b"), (H10, "c")):
        lake.items(hour, name)
        lake.done("ingest", hour, tables=["items"])
        lake.done(STATE, hour, versions={"user_features": int(hour[-2:])})
    return lake


def test_an_hour_reads_what_it_had_and_nothing_later(lake, settings):
    assert [lake.seen(hour) for hour in (H8, H9, H10)] == [["a"], ["a", "b"], ["a", "b", "c"]]
    expected = [{"items": 0, "user_features": 8}, {"items": 1, "user_features": 9}]
    assert [snapshot(settings, hour).versions for hour in (H8, H9)] == expected


def test_a_rerun_of_an_old_hour_brings_its_rows_and_none_of_the_hours_between(lake, settings):
    lake.items(H8, "mended")
    lake.done("ingest", H8, tables=["items"])
    assert snapshot(settings, H8).versions["items"] == 3 and lake.seen(H8) == ["a", "mended"]
    assert lake.seen(H9) == ["a", "b"], "what belonged together when that hour was finished stays together"


def test_a_table_that_was_set_aside_is_read_from_its_new_beginning(lake, settings):
    lake.done(ledger.SET_ASIDE, H10, versions={"user_features": 0})
    with pytest.raises(UserError, match=f"no step up to {H9} wrote user_features; tables of that hour: items"):
        snapshot(settings, H9).read(settings, "user_features")
    lake.done(STATE, H8, versions={"user_features": 2})
    assert [snapshot(settings, hour).versions["user_features"] for hour in (H8, H9)] == [2, 2]


def test_an_hour_whose_state_is_not_apart_and_one_that_is_not_there_are_refused(lake, settings):
    lake.done(STATE, H8, H9, H10, versions={"user_features": 11})
    with pytest.raises(UserError, match=f"features before {H10} were made in one pass with those of {H8}.*read as of {H10}"):
        snapshot(settings, H8)
    with pytest.raises(UserError, match=f"hour 2026-11-10T11 is not finished; the newest finished hour is {H10}"):
        snapshot(settings, "2026-11-10T11")
    with pytest.raises(UserError, match="unknown table 'item'"):
        snapshot(settings, H10).read(settings, "item")


def test_a_version_whose_files_are_gone_is_named(lake, settings):
    table = DeltaTable(str(table_path(settings, "items")))
    table.optimize.compact()
    table.vacuum(0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(UserError, match=rf"items as of {H8} \(version 0\) is past retention"):
        lake.seen(H8)
