"""The map of the catalogue: two widest axes, the largest categories, and only where an encoder has vectors."""

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from mlflow import MlflowClient

from models.encoder_files import default_encoder_path
from pipelines.clock import wall_clock
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.tables import table_path
from pipelines.registry.embedding_map import OTHERS, SHOWN_GROUPS, embedding_figure, encoder_map, item_groups, widest_axes
from pipelines.registry.figures import ABSTAIN
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import register
from pipelines.steps.encoders import encoder_spec
from spark_jobs.contracts import TABLES

HOUR = "2026-11-10T08"


def test_axes_are_those_along_which_the_vectors_differ_most():
    points = np.array([[5.0, 1.0, 0.0], [5.0, -1.0, 0.0], [5.0, 0.0, 3.0], [5.0, 0.0, -3.0]])
    found, share = widest_axes(points)
    np.testing.assert_allclose(found, [[0, 1], [0, -1], [3, 0], [-3, 0]], atol=1e-12)
    np.testing.assert_allclose(share, [0.9, 0.1])


def test_a_group_is_the_category_else_the_first_tag():
    items = pa.table({"category": ["Drama", None, None, ""], "tags": [["x"], ["Comedy", "War"], None, []]})
    assert item_groups(items) == ["Drama", "Comedy", OTHERS, OTHERS]


def test_the_largest_groups_have_a_color_and_all_items_are_there():
    groups = [f"g{n}" for n in range(10) for _ in range(n + 1)]  # 1 of g0 to 10 of g9
    vectors = np.random.default_rng(0).normal(size=(len(groups), 5))
    picture = embedding_figure({"one": vectors, "two": vectors}, groups)
    for axis in picture.axes:
        drawn = {dots.get_label(): len(dots.get_offsets()) for dots in axis.collections}
        assert list(drawn)[:2] == [f"{OTHERS} (3)", "g9 (10)"] and len(drawn) == 1 + SHOWN_GROUPS and sum(drawn.values()) == 55
        assert len({tuple(dots.get_facecolor()[0]) for dots in axis.collections}) == len(drawn), ABSTAIN
    np.testing.assert_allclose(picture.axes[0].collections[1].get_offsets(), widest_axes(vectors)[0][-10:])


@pytest.mark.services
def test_a_new_encoder_shows_the_catalogue_once(make_settings, mlflow_url):
    settings = make_settings(domain="ecommerce")  # where no other test registers this encoder
    client, spec = MlflowClient(mlflow_url), encoder_spec(settings)

    def figures(hour):
        with tracked_run(settings, "promote_models", hour) as run:
            register(settings, run, "encoder", default_encoder_path(), hour)
        return [file.path for file in client.list_artifacts(run.run_id, "figures")]

    assert encoder_map(settings, HOUR, spec.version) is None, "no table yet"
    items = [{"item_id": f"i{n}", "updated_hour": HOUR, "title": "t", "category": f"c{n % 2}", "available": True} for n in range(6)]
    vectors = [
        {"item_id": f"i{n}", "encoder_version": version, "text_hash": "", "vector": [float(n == m) for m in range(4)]}
        for n in range(5) for version in ([spec.version, "other"] if n else ["other"])
    ]  # fmt: skip
    for name, step, rows in (("items", "ingest", items), ("item_embeddings", "embed_items", vectors)):
        table = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
        write_deltalake(str(table_path(settings, name)), table, partition_by=list(TABLES[name].partition) or None)
        ledger.write_rows(settings, [LedgerRow(HOUR, step, "done", "test", wall_clock(), wall_clock(), outputs={name: 0})])
    assert encoder_map(settings, HOUR, "unknown") is None
    axis = encoder_map(settings, HOUR, spec.version).axes[0]
    assert {dots.get_label() for dots in axis.collections} == {"c0 (2)", "c1 (2)"}, "i0 has a vector of another encoder, i5 has none"
    assert figures(HOUR) == ["figures/embeddings.png"]
    assert figures("2026-11-10T09") == []
