"""Items as arrays: what becomes of images that lack, or that do not fit."""

import numpy as np
import pyarrow as pa

from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import TABLES


def catalogue(images, queries=()):
    """Items i0, i1 and so on with these images, and texts that were searched for."""

    def table(name, rows):
        return pa.Table.from_pylist(rows, schema=TABLES[name].schema)

    hour = "2026-11-10T08"
    items = [
        {"item_id": f"i{n}", "updated_hour": hour, "title": f"T{n}", "text": "", "available": True, "image_vector": image}
        for n, image in enumerate(images)
    ]
    rows = [{"item_id": f"i{n}", "encoder_version": "v1", "vector": [1.0, float(n)]} for n in range(len(images))]
    asked = [{"query": query, "encoder_version": "v1", "vector": [0.0, 1.0]} for query in queries]
    return build_catalogue(table("items", items), table("item_embeddings", rows), "v1", table("query_embeddings", asked)).table


def test_an_image_lies_in_the_row_of_its_item_and_what_is_none_is_zeros():
    found = catalogue([[1.0, 2.0, 3.0], None, [4.0, 5.0], [6.0, 7.0, 8.0], [9.0, float("nan"), 1.0], []], ["a search"])
    wanted = np.zeros((1 + 6 + 1, 3), np.float32)
    wanted[1], wanted[4] = [1, 2, 3], [6, 7, 8]
    np.testing.assert_array_equal(found.images.numpy(), wanted)
    assert found.vectors.shape == (8, 2)


def test_a_catalogue_without_images_has_none():
    assert catalogue([None, []], ["a search"]).images.shape == (4, 0)
