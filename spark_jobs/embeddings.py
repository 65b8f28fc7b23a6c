"""Text to vectors on executors: each worker loads the encoder once and keeps it."""

import re
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

QUERY_CHARACTERS = 256


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


def search_text(query: str) -> str:
    """What somebody searched for, white space made one blank, cut at QUERY_CHARACTERS: the same as in ``training_examples``."""
    return re.sub("[ \t\r\n]+", " ", query).strip(" ")[:QUERY_CHARACTERS]


def embedded(items: DataFrame, spec: EncoderSpec, encoder_version: str) -> DataFrame:
    """item_id, encoder_version, text_hash, vector for items that have ``encoder_text`` and ``text_hash``."""

    rows = with_vectors(items.select("item_id", "text_hash", "encoder_text"), "encoder_text", spec)
    return rows.drop("encoder_text").withColumn("encoder_version", F.lit(encoder_version))


def with_vectors(texts: DataFrame, column: str, spec: EncoderSpec) -> DataFrame:
    """Adds ``vector`` of the texts in ``column``; all columns must be strings."""

    def encode(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            vectors = load_encoder(spec).encode(batch.column(column).to_pylist())
            columns = [*batch.columns, pa.array(list(vectors), pa.list_(pa.float32()))]
            yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, "vector"])

    kinds = ", ".join(f"{name} string" for name in texts.columns)
    return texts.mapInArrow(encode, f"{kinds}, vector array<float>")
