"""Hours in memory: each is read once, what is asked for in parts is not kept, and the longest unread go first."""

import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import write_deltalake

from pipelines.errors import UserError
from pipelines.lake import held
from pipelines.lake.held import HeldHours
from pipelines.lake.tables import table_path
from spark_jobs.contracts import TABLES

HOURS = [f"2026-11-10T{hour:02}" for hour in range(8, 12)]
AS_OF = datetime(2026, 11, 10, 9, tzinfo=UTC)


@pytest.fixture
def table(settings):
    rows = [{"item_id": f"i{n}", "hour": hour, "as_of": AS_OF, "clicks_1h": float(n)} for hour in HOURS for n in range(3)]
    data = pa.Table.from_pylist(rows, schema=TABLES["item_hour"].schema)
    write_deltalake(str(table_path(settings, "item_hour")), data, partition_by=["hour"])
    return HeldHours(settings, "item_hour")


def gone(settings):
    for folder in table_path(settings, "item_hour").glob("hour=*"):
        shutil.rmtree(folder)


def test_an_hour_that_was_read_is_read_from_memory(settings, table):
    assert table.hours == HOURS
    first = table.read(HOURS[:2])
    gone(settings)
    assert table.read(HOURS[:2]) == first and len(first) == 6
    assert table.read(HOURS[:1], pc.field("clicks_1h") > 0, ["item_id"])["item_id"].to_pylist() == ["i1", "i2"]
    assert len(table.read(["2026-11-11T00"])) == 0, "an hour without rows"
    with pytest.raises(FileNotFoundError):
        table.read(HOURS)


def test_parts_of_an_hour_are_not_kept(settings, table):
    assert table.read(HOURS[:1], columns=["item_id"]).column_names == ["item_id"]
    assert len(table.read(HOURS[:1], pc.field("clicks_1h") > 0, hold=False)) == 2
    gone(settings)
    with pytest.raises(FileNotFoundError):
        table.read(HOURS[:1])


def test_the_longest_unread_hours_go_first(settings, table, monkeypatch):
    monkeypatch.setattr(held, "HELD_BYTES", 2 * table.read(HOURS[:1]).nbytes)
    for hour in (*HOURS[:2], HOURS[0], HOURS[2]):
        table.read([hour])
    gone(settings)
    assert len(table.read([HOURS[0], HOURS[2]])) == 6
    with pytest.raises(FileNotFoundError):
        table.read([HOURS[1]])


def test_a_table_that_is_not_there_is_one_line(settings):
    with pytest.raises(UserError, match="table item_hour does not exist"):
        HeldHours(settings, "item_hour")
