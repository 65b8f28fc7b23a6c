import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from models.encoder import Encoder
from models.encoder_files import default_encoder_path
from spark_jobs.embeddings import EncoderSpec, embedded

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
