import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from models.encoder import Encoder
from models.encoder_files import default_encoder_path
from spark_jobs.embeddings import QUERY_CHARACTERS, EncoderSpec, embedded, search_text
from spark_jobs.examples import search_text as search_text_column

TEXTS = {"a": "A heist in Los Angeles", "b": "Casino", "c": "A heist in Los Angeles", "d": "東京物語"}


@pytest.fixture
def spec():
    return EncoderSpec(default_encoder_path(), "mean", 64)


def test_the_workers_vectors_are_the_encoders_and_carry_its_version(spark, spec):
    rows = [(name, name * 32, text, "x") for name, text in TEXTS.items()]
    items = spark.createDataFrame(rows, "item_id string, text_hash string, encoder_text string, title string").repartition(1)
    found = {row["item_id"]: row for row in embedded(items, spec, spec.version).collect()}
    vectors = Encoder(spec.path, pooling=spec.pooling, max_tokens=spec.max_tokens).encode([TEXTS[name] for name in found])
    assert np.allclose([row["vector"] for row in found.values()], vectors, atol=1e-5)
    assert found["a"]["vector"] == found["c"]["vector"] != found["b"]["vector"]
    assert {name: row["text_hash"] for name, row in found.items()} == {name: name * 32 for name in TEXTS}
    assert {row["encoder_version"] for row in found.values()} == {spec.version}


def test_workers_do_not_run_in_the_folder_that_spark_deletes_with_a_session_out_of_its_cache(spark):
    def folders(batches):
        for batch in batches:
            yield pa.RecordBatch.from_arrays([pa.array([os.getcwd()] * batch.num_rows)], names=["folder"])

    [row] = spark.range(1).mapInArrow(folders, "folder string").collect()
    assert Path(row["folder"]).is_dir() and "userFiles" not in row["folder"]


def test_whatever_decides_the_vectors_is_in_the_version(spec):
    others = {EncoderSpec(spec.path, "last", 64).version, EncoderSpec(spec.path, "mean", 32).version}
    assert len({spec.version, *others}) == 3 and all(len(version) == 12 for version in others)


def test_a_search_has_one_text_in_the_examples_and_in_the_table_of_vectors(spark):
    asked = ["red  shoes", " \tred\r\n shoes ", "", "   ", "東京\u3000物語", "\u00a0x\u00a0", "💡" * 300, "a " * 200, "ends in\x0bthis "]
    rows = spark.createDataFrame([(text,) for text in [*asked, None]], "query string").coalesce(1)
    found = [row[0] for row in rows.select(search_text_column(F.col("query"))).collect()]
    assert found == [search_text(text) or None for text in asked] + [None]
    assert found[0] == found[1] == "red shoes" and found[2] is found[3] is None and len(found[6]) == QUERY_CHARACTERS
