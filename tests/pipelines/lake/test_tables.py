"""Tables of an earlier release: what the contract added since is added, anything else is named before a write."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.errors import UserError
from pipelines.lake import tables, writes
from pipelines.lake.columns import differing_columns
from pipelines.lake.tables import create_spark_tables, read_table, table_path
from pipelines.lake.writes import replace_hours
from spark_jobs.contracts import TABLES

HOUR = "2026-11-10T08"
EVENT = {"event_id": "e", "user_id": "u", "item_id": "i", "ts": datetime(2026, 11, 10, 8, tzinfo=UTC), "type": "click", "hour": HOUR}
COLUMNS = "event_id string, user_id string, item_id string, ts timestamp, type string, hour string"


def test_a_column_that_a_release_adds_is_null_in_old_rows_and_written_in_new_ones(settings, spark, monkeypatch):
    contract = TABLES["feedback"]
    old = pa.schema([field for field in contract.schema if field.name not in ("request_id", "value")])
    with monkeypatch.context() as earlier:
        earlier_tables = {"feedback": replace(contract, schema=old, checks={})}
        earlier.setattr(tables, "TABLES", earlier_tables)
        earlier.setattr(writes, "TABLES", earlier_tables)
        create_spark_tables(spark, settings)
        replace_hours(spark.createDataFrame([EVENT], COLUMNS), settings, "feedback", [HOUR], "ingest")
        earlier.setattr(tables, "TABLES", {"feedback": contract})
        create_spark_tables(spark, settings)
        create_spark_tables(spark, settings)
    assert differing_columns(contract, DeltaTable(str(settings.warehouse / "feedback"))) == {}
    later = "2026-11-10T09"
    new = EVENT | {"event_id": "f", "hour": later, "request_id": "r", "value": 2.0}
    replace_hours(spark.createDataFrame([new], f"{COLUMNS}, request_id string, value double"), settings, "feedback", [later], "ingest")
    found = {row["event_id"]: (row["request_id"], row["value"]) for row in read_table(settings, "feedback").to_pylist()}
    assert found == {"e": (None, None), "f": ("r", 2.0)}


def test_a_version_before_the_column_reads_as_null(settings):
    schema = TABLES["slate_decisions"].schema
    young = ("offsets", "pinned")
    old = pa.schema([field for field in schema if field.name not in young])
    row = {field.name: None for field in old} | {"slate_id": "s1", "hour": "2026-11-10T08", "category_cap": 3}
    plain = pa.schema([pa.field(field.name, field.type) for field in old])
    write_deltalake(str(table_path(settings, "slate_decisions")), pa.Table.from_pylist([row], schema=plain))
    found = read_table(settings, "slate_decisions", columns=["pinned", "slate_id", "category_cap", "offsets"])
    assert found.column_names == ["pinned", "slate_id", "category_cap", "offsets"]
    assert found.to_pylist() == [{"pinned": None, "slate_id": "s1", "category_cap": 3, "offsets": None}]
    assert found.schema.field("offsets").type == schema.field("offsets").type


def test_a_column_of_another_type_is_named_before_anything_is_written(settings, spark, monkeypatch):
    contract = TABLES["quarantine"]
    other = contract.schema.set(0, pa.field("raw", pa.string()))
    monkeypatch.setattr(tables, "TABLES", {"quarantine": replace(contract, schema=other)})
    create_spark_tables(spark, settings)
    monkeypatch.setattr(tables, "TABLES", {"quarantine": contract})
    with pytest.raises(UserError, match="quarantine is of another release: column raw is string, expected binary"):
        create_spark_tables(spark, settings)
