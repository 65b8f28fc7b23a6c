"""The content hash: blind to order, files, batches and layout; awake to every value."""

import math
import random
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake.content_hash import content_hash, row_hashes, table_hash
from spark_jobs.contracts import TABLES

STRUCT = pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))])
SCHEMA = pa.schema([
    ("text", pa.string()), ("number", pa.float64()), ("small", pa.float32()), ("whole", pa.int32()), ("yes", pa.bool_()),
    ("ts", pa.timestamp("us", tz="UTC")), ("list", pa.list_(pa.float32())), ("nested", pa.list_(STRUCT)),
    ("map", pa.map_(pa.string(), pa.string())), ("struct", STRUCT),
])  # fmt: skip

texts = st.text(max_size=6)
structs = st.fixed_dictionaries({"x": st.none() | st.integers(-5, 5), "y": st.none() | st.lists(st.none() | texts, max_size=3)})
numbers = st.floats(width=32, allow_nan=False)
kinds = {
    "text": texts, "number": st.floats(allow_nan=False), "small": numbers, "whole": st.integers(-9, 9), "yes": st.booleans(),
    "ts": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)), "list": st.lists(numbers, max_size=3),
    "nested": st.lists(st.none() | structs, max_size=3), "map": st.dictionaries(texts, st.none() | texts, max_size=3), "struct": structs,
}  # fmt: skip
rows = st.lists(st.fixed_dictionaries({name: st.none() | kind for name, kind in kinds.items()}), min_size=1, max_size=12)


def table(values):
    plain = [row | {"map": None if row["map"] is None else list(row["map"].items())} for row in values]
    return pa.Table.from_pylist(plain, schema=SCHEMA)


def hashed(found, **kwargs):
    return content_hash(found.to_batches(), **kwargs)


@settings(max_examples=60, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_batches_columns_and_map_entries_do_not_count(values, chance, size):
    wanted = hashed(table(values))
    turned = [row | {"map": None if row["map"] is None else dict(reversed(row["map"].items()))} for row in values]
    chance.shuffle(turned)
    names = chance.sample(SCHEMA.names, len(SCHEMA))
    found = table(turned).select(names)
    assert content_hash(found.to_batches(max_chunksize=size)) == wanted
    assert content_hash(found.slice(size).to_batches() + found.slice(0, size).to_batches()) == wanted


@settings(max_examples=100, deadline=None)
@given(rows, st.data())
def test_any_other_value_counts(values, data):
    place, name = data.draw(st.integers(0, len(values) - 1)), data.draw(st.sampled_from(SCHEMA.names))
    other = data.draw(st.none() | kinds[name])
    changed = [row | {name: other} if number == place else row for number, row in enumerate(values)]
    same = repr(other) == repr(values[place][name]) or (name == "map" and other == values[place][name])
    assert (hashed(table(changed)) == hashed(table(values))) == same


@settings(max_examples=60, deadline=None)
@given(rows, st.data())
def test_a_row_twice_or_not_at_all_counts(values, data):
    place = data.draw(st.integers(0, len(values) - 1))
    wanted = hashed(table(values))
    assert hashed(table([*values, values[place]])) != wanted
    assert hashed(table([*values, values[place], values[place]])) != wanted
    assert hashed(table(values[:place] + values[place + 1 :])) != wanted


def test_values_do_not_wander_between_rows_columns_or_elements():
    two = pa.table({"a": ["1", "2"], "b": ["3", "4"]})
    assert hashed(two) != hashed(pa.table({"a": ["1", "2"], "b": ["4", "3"]}))
    assert hashed(two) != hashed(pa.table({"b": ["1", "2"], "a": ["3", "4"]}))
    lists = [[["a", "b"], []], [["a"], ["b"]], [["b", "a"], []], [["ab"], []], [["a", "b", None], []], [["a", "b"], None]]
    assert len({hashed(pa.table({"a": pa.array(value, pa.list_(pa.string()))})) for value in lists}) == len(lists)
    assert len({hashed(pa.table({"a": pa.array([value])})) for value in ("", "\0", "\0\0", "a", "a\0")}) == 5


def test_floats_count_by_their_bits_and_nulls_are_no_zeros():
    values = [0.0, -0.0, math.nan, math.inf, 5e-324, None]
    assert len({hashed(pa.table({"a": pa.array([value], pa.float64())})) for value in values}) == len(values)


def test_the_layout_of_arrow_does_not_count():
    words, numbers = ["a", None, "ccc"], [[1.5, 2.5], None, []]
    wanted = hashed(pa.table({"w": words, "n": pa.array(numbers, pa.list_(pa.float32()))}))
    for text in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        found = pa.table({"w": pa.array(words, pa.string()).cast(text), "n": pa.array(numbers, pa.large_list(pa.float32()))})
        assert hashed(found) == wanted, text
    when = datetime(2026, 11, 10, 8, tzinfo=UTC)
    times = {hashed(pa.table({"t": pa.array([when], pa.timestamp(unit, "UTC"))})) for unit in ("s", "us", "ns")}
    assert len(times) == 1
    assert hashed(pa.table({"i": pa.array([7], pa.int8())})) == hashed(pa.table({"i": pa.array([7], pa.int64())}))


def test_a_column_that_is_left_out_may_differ():
    first, second = (pa.table({"a": [1, 2], "generated_at": [at, at]}) for at in (5, 6))
    assert hashed(first) != hashed(second)
    assert hashed(first, leave_out=("generated_at",)) == hashed(second, leave_out=["generated_at"])


def test_the_number_of_rows_is_part_of_it():
    empty = pa.table({"a": pa.array([], pa.string())})
    assert hashed(empty).startswith("0:") and content_hash([]) == hashed(empty)
    assert hashed(pa.table({"a": ["x"] * 3})).startswith("3:")


def test_a_table_has_one_hash_however_it_was_written(tmp_path):
    from pipelines.settings import load_settings

    hours = ("2026-11-10T08", "2026-11-10T09")
    schema = TABLES["feedback"].schema
    at = datetime(2026, 11, 10, 8, 1, tzinfo=UTC)
    row = {"request_id": None, "user_id": "u", "item_id": "i", "ts": at, "type": "click", "value": None}
    values = [row | {"event_id": f"e{number}", "hour": hours[number % 2]} for number in range(40)]
    at_once, in_parts = (load_settings(tmp_path / name, {}) for name in ("a", "b"))
    write_deltalake(str(at_once.warehouse / "feedback"), pa.Table.from_pylist(values, schema=schema), partition_by=["hour"])
    random.Random(5).shuffle(values)
    for start in range(0, 40, 7):
        part = pa.Table.from_pylist(values[start : start + 7], schema=schema)
        write_deltalake(str(in_parts.warehouse / "feedback"), part, mode="append", partition_by=["hour"])
    assert table_hash(at_once, "feedback") == table_hash(in_parts, "feedback")
    assert table_hash(at_once, "feedback", hours=hours[:1]) == table_hash(in_parts, "feedback", hours=hours[:1])
    assert table_hash(at_once, "feedback", hours=hours[:1]) != table_hash(at_once, "feedback", hours=hours[1:])
    assert table_hash(in_parts, "feedback", version=0).startswith("7:")


def test_rows_have_one_hash_for_equal_columns():
    batch = pa.record_batch({"k": ["a", "b", "a"], "v": [1, 1, 2]})
    first, second, third = row_hashes(batch, ["k"])
    assert first == third != second and len(set(row_hashes(batch, ["k", "v"]))) == 3


def test_it_hashes_a_wide_table_within_seconds():
    values = np.random.default_rng(7).random(200_000)
    names = pa.array([f"user-{number}" for number in range(len(values))])
    wide = {f"f{number}": values + number for number in range(70)} | {f"s{number}": names for number in range(10)}
    start = time.process_time()
    content_hash([pa.record_batch(wide)])
    assert time.process_time() - start < 5
