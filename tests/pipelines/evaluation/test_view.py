"""Candidate sets scored together are scored as each row alone: users pad each other, and one user may search for several things."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.ranker import Ranker, RankerConfig
from pipelines.evaluation.state_fold import StateFold
from pipelines.evaluation.view import View
from pipelines.hours import end_of, parse_hour
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import COUNTERS, TABLES
from spark_jobs.counters import counter_names
from spark_jobs.ranker_inputs import CROSS, RELEVANCE

HOUR, BEFORE = "2026-11-10T08", "2026-11-10T07"
NAMES = counter_names(("click",))
ROWS = [
    ("u", "a", None), ("u", "b", "shoes"), ("u", "b", "hats"), ("new", "c", None), ("u", "c", "shoes"), ("u", "b", None),
    ("v", "d", "hats"),
]  # fmt: skip


def table(name, rows):
    return pa.Table.from_pylist(rows, schema=TABLES[name].schema)


@pytest.fixture
def view() -> View:
    """Four items and two users whom an hour before taught something, and two searches."""
    draw = np.random.default_rng(4)
    known = {"updated_hour": BEFORE, "available": True, "published_at": parse_hour(BEFORE)}
    items = [known | {"item_id": item, "title": item, "tags": [item]} for item in "abcd"]
    vectors = [{"item_id": i, "encoder_version": "v1", "text_hash": "", "vector": draw.normal(size=6).tolist()} for i in "abcd"]
    queries = [{"query": q, "encoder_version": "v1", "vector": draw.normal(size=6).tolist()} for q in ("hats", "shoes")]
    catalogue = build_catalogue(table("items", items), table("item_embeddings", vectors), "v1", table("query_embeddings", queries))
    at, counts = end_of(BEFORE), dict(zip(COUNTERS, draw.exponential(9, len(COUNTERS)).tolist(), strict=True))
    met = [{"ts": at - timedelta(minutes=9), "event_id": "e", "item_id": "b", "weight": 1.0, "times": 2.0}]
    users, of_items = StateFold("user_features"), StateFold("item_features")
    users.add(table("user_hour", [{"user_id": user, "as_of": at, "hour": BEFORE, "recent": met, **counts} for user in "uv"]))
    of_items.add(table("item_hour", [{"item_id": item, "as_of": at, "hour": BEFORE, **counts} for item in "ab"]))
    return View(HOUR, catalogue, users, of_items)


@pytest.fixture
def candidates() -> pa.Table:
    user, item, query = (pa.array(column, pa.string()) for column in zip(*ROWS, strict=True))
    return pa.table({"user": user, "item": item, "query": query, "label": pa.array([1.0, 0.0] * 3 + [1.0])})


def test_together_is_as_each_row_alone_and_as_another_models_inputs(view, candidates):
    torch.manual_seed(1)
    config = RankerConfig(NAMES, NAMES, CROSS, ("click",), "v1", 6, dim=4, hidden=8, relevance=RELEVANCE)
    ranker = Ranker(config).eval()
    together = view.logits({"it": ranker}, candidates)["it"][:, 0]
    alone = [view.logits({"it": ranker}, candidates.slice(row, 1))["it"][0, 0] for row in range(len(ROWS))]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    batch = view.inputs(candidates, NAMES)
    with torch.no_grad():
        np.testing.assert_allclose(ranker(batch, view.catalogue.table)[:, 0].numpy(), together, atol=1e-5)
    assert batch.query.tolist() == [0, 6, 5, 0, 6, 0, 5] and batch.labels[:, 0].tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert len({round(value, 5) for value in together[[1, 2, 5]]}) == 3, "the same item for another search is another score"
