"""The contracts hold together, and every Delta reader can hold their types."""

import re

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from spark_jobs.contracts import COUNTED, COUNTERS, HALF_LIVES_H, REACTIONS, TABLES

tables = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


def leaves(kind):
    """The types inside lists, maps and structs."""
    if pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_list(kind):
        return [leaf for number in range(kind.num_fields) for leaf in leaves(kind.field(number).type)]
    return [kind]


@tables
def test_keys_and_partitions_are_required_columns(table):
    for name in (*table.key, *table.partition):
        assert not table.schema.field(name).nullable, name
    assert len(set(table.schema.names)) == len(table.schema.names)


@tables
def test_the_kind_decides_the_writing_engine(table):
    assert table.engine == ("delta-rs" if table.kind == "control" else "spark")
    assert table.owner in ("data-engineering", "data-science") and table.retention_days >= 7
    assert re.fullmatch(r"[A-Z].*\.", table.meaning)


@tables
def test_times_are_utc_microseconds_and_no_type_is_one_that_a_reader_lacks(table):
    plain = {pa.string(), pa.binary(), pa.float64(), pa.float32(), pa.int64(), pa.int32(), pa.bool_(), pa.timestamp("us", tz="UTC")}
    assert {leaf for field in table.schema for leaf in leaves(field.type)} <= plain


@tables
def test_checks_are_about_the_tables_own_columns_and_refuse_nan(table):
    for condition in table.checks.values():
        named = set(re.findall(r"[a-z_]+", condition)) - {"isnan"}
        assert named <= set(table.schema.names)
        assert "isnan" in condition or "<=" in condition or named == {"position"}, "CHECK x >= 0 alone accepts NaN"


def test_a_second_engine_makes_the_same_columns(tmp_path):
    for name, table in TABLES.items():
        made = DeltaTable.create(str(tmp_path / name), table.schema, partition_by=list(table.partition) or None)
        found = made.to_pyarrow_dataset().schema
        assert [(field.name, field.nullable) for field in found] == [(field.name, field.nullable) for field in table.schema]
        spoken = [str(field.type).replace("list<element:", "list<item:") for field in found]
        assert spoken == [str(field.type) for field in table.schema]


def test_a_counter_stands_for_every_reaction_and_half_life():
    assert set(COUNTED) == {"impressions", "reward", *(f"{reaction}s" for reaction in REACTIONS)}
    assert len(COUNTERS) == len(set(COUNTERS)) == len(COUNTED) * len(HALF_LIVES_H)
