"""Vectors of the items' texts and of what people searched for: only new text is encoded, and no model is loaded where there is none."""

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from pipelines.lake.tables import read_frame, read_table, table_version
from pipelines.lake.writes import merge_by_key
from pipelines.steps.encoders import specs_at_work
from pipelines.steps.state import input_of, read_input
from pipelines.steps.step import Attempt, Outcome

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_jobs.embeddings import EncoderSpec


FEW = 256  # texts that one worker encodes sooner than a second one has loaded its model


def embed_items(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """Encodes new and changed texts with every encoder that is at work, its version beside them."""
    settings = attempt.settings
    counts = {}
    for version, spec in specs_at_work(settings, attempt.hours[-1]).items():
        counts[version] = _embed_items(spark, attempt, spec, version)
        attempt.outputs["item_embeddings"] = table_version(settings, "item_embeddings")
        counts[version] += _embed_queries(spark, attempt, spec, version)
    told = ", ".join(f"{count} texts encoded by {version}" for version, count in counts.items())
    return attempt.record("done", told, rows_out=sum(counts.values()))


def _embed_items(spark: "SparkSession", attempt: Attempt, spec: "EncoderSpec", version: str) -> int:
    """Encodes the items whose text this encoder has not seen; how many."""
    from spark_jobs.embeddings import embedded
    from spark_jobs.items import current_items, only_changed, with_text_hash

    settings = attempt.settings
    with attempt.stage("find"):
        items = with_text_hash(current_items(read_input(spark, attempt, "items", "ingest")))
        changed = only_changed(items, read_frame(spark, settings, "item_embeddings"), version)
        count = int(changed.count())
    if count:
        with attempt.stage("encode and write"):
            rows = embedded(changed.repartition(1 if count < FEW else 2), spec, version).persist()
            merge_by_key(rows, settings, "item_embeddings", attempt.hours, attempt.step)
    return count


def _embed_queries(spark: "SparkSession", attempt: Attempt, spec: "EncoderSpec", version: str) -> int:
    """Encodes what was searched for in these hours, or ever before by another encoder, and is not encoded yet; how many texts."""
    from pyspark.sql import functions as F

    from spark_jobs.embeddings import search_text, with_vectors

    settings, hours = attempt.settings, list(attempt.hours)
    with attempt.stage("find"):
        at, searched = input_of(attempt, "impressions", "ingest"), pc.field("query").is_valid()
        shown = read_table(settings, "impressions", hours=hours, version=at, columns=["query"], where=searched)
        held = read_table(settings, "query_embeddings", columns=["query", "encoder_version"])
        texts = {search_text(query) for query in pc.unique(shown["query"]).to_pylist()} | set(held["query"].to_pylist())
        texts -= {"", *held.filter(pc.field("encoder_version") == version)["query"].to_pylist()}
    if texts:
        with attempt.stage("encode and write"):
            frame = spark.createDataFrame([(text,) for text in sorted(texts)], "query string")
            rows = with_vectors(frame.repartition(1 if len(texts) < FEW else 2), "query", spec)
            rows = rows.withColumn("encoder_version", F.lit(version)).persist()
            merge_by_key(rows, settings, "query_embeddings", hours, attempt.step)
    attempt.outputs["query_embeddings"] = table_version(settings, "query_embeddings")
    return len(texts)
