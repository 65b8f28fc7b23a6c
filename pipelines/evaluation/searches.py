"""Vectors of what people searched for, the log's and those that only the candidate sets hold."""

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lake.tables import read_table, table_exists
from pipelines.settings import Settings
from pipelines.steps.encoders import encoder_spec
from spark_jobs.contracts import TABLES
from spark_jobs.embeddings import load_encoder


def known_queries(settings: Settings, encoder_version: str, searches: pa.ChunkedArray) -> pa.Table:
    """Rows of ``query_embeddings`` by this encoder, and of ``searches`` (null: none) those that it lacks, encoded now."""
    schema, there = TABLES["query_embeddings"].schema, table_exists(settings, "query_embeddings")
    own = pc.field("encoder_version") == encoder_version
    held = read_table(settings, "query_embeddings", where=own).cast(schema) if there else schema.empty_table()
    new = sorted(set(pc.drop_null(pc.unique(searches)).to_pylist()) - set(held["query"].to_pylist()))
    if not new:
        return held
    vectors = load_encoder(encoder_spec(settings)).encode(new)
    columns = [pa.array(new), pa.array([encoder_version] * len(new)), pa.array(list(vectors), pa.list_(pa.float32()))]
    return pa.concat_tables([held, pa.table(columns, schema=schema)])
