"""Vectors of the items' texts: only text that changed is encoded, and no model is loaded where none did."""

from typing import TYPE_CHECKING

from pipelines.lake.tables import read_frame, table_version
from pipelines.lake.writes import merge_by_key
from pipelines.settings import Settings
from pipelines.steps.state import read_input
from pipelines.steps.step import Attempt, Outcome

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from spark_jobs.embeddings import EncoderSpec


FEW = 256  # texts that one worker encodes sooner than a second one has loaded its model


def encoder_spec(settings: Settings) -> "EncoderSpec":
    """The encoder that the settings name; the packaged MiniLM where they name none."""
    from models.encoder_files import default_encoder_path
    from spark_jobs.embeddings import EncoderSpec

    encoder = settings.encoder
    return EncoderSpec(encoder.path or default_encoder_path(), encoder.pooling, encoder.max_tokens)


def embed_items(spark: "SparkSession", attempt: Attempt) -> Outcome:
    """Encodes new and changed texts with the encoder's version beside them."""
    from spark_jobs.embeddings import embedded
    from spark_jobs.items import current_items, only_changed, with_text_hash

    settings, spec = attempt.settings, encoder_spec(attempt.settings)
    version = spec.version
    with attempt.stage("find"):
        items = with_text_hash(current_items(read_input(spark, attempt, "items", "ingest")))
        changed = only_changed(items, read_frame(spark, settings, "item_embeddings"), version)
        count = changed.count()
    if count:
        with attempt.stage("encode and write"):
            rows = embedded(changed.repartition(1 if count < FEW else 2), spec, version).persist()
            merge_by_key(rows, settings, "item_embeddings", attempt.hours, attempt.step)
    attempt.outputs["item_embeddings"] = table_version(settings, "item_embeddings")
    return attempt.record("done", f"{count} texts encoded by {version}", rows_out=count)
