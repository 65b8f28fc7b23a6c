"""A table that is not as its contract says, and keys that are there twice."""


import pyarrow as pa
from deltalake import write_deltalake

from pipelines.lake.verify import keys
from pipelines.local.verification import verify
from spark_jobs.contracts import TABLES

NEXT = "2026-11-10T11"


def test_another_engine_wrote_to_the_table(root):
    row = root.rows_of("item_embeddings", [{"item_id": "c"}])
    write_deltalake(str(root.folder("item_embeddings")), row, mode="append")
    root.named("engine", "item_embeddings", "versions 2", "delta-rs", "spark alone")


def test_a_column_that_the_contract_has_otherwise(root):
    schema = TABLES["quarantine"].schema
    other = schema.set(schema.get_field_index("line"), pa.field("line", pa.string(), nullable=False))
    root.recreate("quarantine", other)
    root.named("schema", "quarantine", "column line", "string NOT NULL", "long NOT NULL")


def test_columns_that_are_missing_nullable_or_too_many(root):
    schema = TABLES["quarantine"].schema.remove(1).append(pa.field("colour", pa.int32()))
    schema = schema.set(0, pa.field("raw", pa.string(), nullable=False))
    root.recreate("quarantine", schema)
    found = {finding.where.partition("column ")[2]: (finding.found, finding.expected) for finding in verify(root.settings).findings}
    assert found == {
        "colour": ("integer", "no such column"), "raw": ("string NOT NULL", "binary"), "reason": ("missing", "string NOT NULL"),
    }  # fmt: skip


def test_other_partitions(root):
    root.recreate("quarantine", TABLES["quarantine"].schema, partition=())
    root.named("partition", "quarantine", "partitioned by ()", "partitioned by ('hour',)")


def test_a_constraint_that_is_gone(root):
    def forget(action):
        if "metaData" in action:
            action["metaData"]["configuration"].pop("delta.constraints.value_finite", None)

    root.edit_commits("feedback", forget)
    root.named("constraint", "feedback", "CHECK value_finite", "missing")


def test_a_feature_that_not_every_reader_knows(root):
    def demand(action):
        if "protocol" in action:
            features = {"readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz", "appendOnly", "invariants"]}
            action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, **features}

    root.edit_commit(root.commits("item_hour")[0], demand)
    root.named("protocol", "item_hour", "reader 3, writer 7 with timestampNtz")


def test_one_key_in_two_hours(root):
    root.commit("impressions", [{"event_id": "e1", "hour": NEXT}], "ingest", [NEXT])
    root.named("key", "impressions", "1 keys more than once: 2 x e1", "each key once")


def test_keys_are_counted_slice_by_slice_as_at_once(root, monkeypatch):
    twice = [{"item_id": f"k{number % 40}", "encoder_version": "v"} for number in range(50)]
    root.commit("item_embeddings", twice, "embed_items", [NEXT])
    at_once = root.only().found
    monkeypatch.setattr(keys, "HASHES_AT_ONCE", 7)
    assert at_once.startswith("10 keys") and root.only().found.split(":")[0] == at_once.split(":")[0]


def test_an_hour_in_the_key_keeps_rows_apart(root):
    root.commit("user_hour", [{"user_id": "u", "hour": NEXT}, {"user_id": "u", "hour": NEXT}], "build_increments", [NEXT])
    root.named("key", "user_hour", f"2 x u, {NEXT}")


def test_a_null_where_none_may_be(root):
    def without_user(table):
        place = table.schema.get_field_index("user_id")
        return table.set_column(place, pa.field("user_id", pa.string()), [pa.array([None], pa.string())])

    root.rewrite("user_features", without_user)
    root.named("null", "user_features", "1 nulls in user_id")


def test_an_hour_that_is_none(root):
    root.commit("user_hour", [{"user_id": "u", "hour": "2026-11-10"}], "build_increments", [NEXT])
    root.named("hour", "user_hour", "hour '2026-11-10'", "YYYY-MM-DDTHH")
