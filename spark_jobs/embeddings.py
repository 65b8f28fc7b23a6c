"""Text to vectors on executors: each worker loads the encoder once and keeps it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from models.encoder_files import encoder_version

if TYPE_CHECKING:
    from models.encoder import Encoder


@dataclass(frozen=True)
class EncoderSpec:
    """What a worker needs to load the same encoder as the driver."""

    path: str
    pooling: Literal["mean", "last"]
    max_tokens: int

    @property
    def version(self) -> str:
        """12 hex digits of what decides the vectors."""
        return encoder_version(self.path, self.pooling, self.max_tokens)


@cache
def load_encoder(spec: EncoderSpec) -> "Encoder":
    """The encoder of this process, loaded at the first call: only where a text changed is torch needed."""
    from models.encoder import Encoder

    return Encoder(spec.path, pooling=spec.pooling, max_tokens=spec.max_tokens)


def embedded(items: DataFrame, spec: EncoderSpec, encoder_version: str) -> DataFrame:
    """item_id, encoder_version, text_hash, vector for items that have ``encoder_text`` and ``text_hash``."""

    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors = load_encoder(spec).encode(batch.column("encoder_text").to_pylist())
            columns = [batch.column("item_id"), batch.column("text_hash"), pa.array(list(vectors), pa.list_(pa.float32()))]
            yield pa.RecordBatch.from_arrays(columns, names=["item_id", "text_hash", "vector"])

    texts = items.select("item_id", "text_hash", "encoder_text")
    vectors = texts.mapInArrow(encode, "item_id string, text_hash string, vector array<float>")
    return vectors.withColumn("encoder_version", F.lit(encoder_version))
