"""Serving features are training features: the same state, read from the cache or from an example."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.likers import Likers
from spark_jobs.catalogue import build_catalogue, current_rows, fresh_items, item_state
from spark_jobs.contracts import COUNTERS, HISTORY, TABLES
from spark_jobs.counters import counter_names
from spark_jobs.ranker_inputs import CROSS, LIKED_TOGETHER, RELEVANCE, cross_features, examples_batch, user_states

CUT = datetime(2026, 11, 12, 8, tzinfo=UTC)
AS_OF = CUT - timedelta(hours=30)
TASKS = ("click", "watch")
NAMES = counter_names(TASKS)
MATCH = CROSS.index(RELEVANCE)
COUNTS = {name: 1.0 + number for number, name in enumerate(COUNTERS)}


def rows(name, values):
    return pa.Table.from_pylist(values, schema=TABLES[name].schema)


def decay(counts):
    """By definition, without numpy: half a counter is left after its half-life."""
    return {name: value * 0.5 ** (30 / int(name.rsplit("_", 1)[1][:-1])) for name, value in counts.items()}


def item(name, hour, **values):
    known = {"title": name, "available": True, "updated_hour": hour, "published_at": CUT - timedelta(hours=100), "tags": ["a"]}
    return known | {"item_id": name} | values


ITEMS = current_rows(rows("items", [
    item("x", "h1", tags=["old"]), item("x", "h2", tags=["a", "b"], category="a"), item("z", "h1", tags=None, published_at=None),
    item("y", "h1", available=False),
]))  # fmt: skip
EMBEDDINGS = rows("item_embeddings", [
    {"item_id": name, "encoder_version": version, "text_hash": "", "vector": vector}
    for name, version, vector in (("x", "v1", [1.0, 0.0]), ("y", "v1", [0.0, 2.0]), ("x", "v2", [9.0, 9.0]))
])  # fmt: skip


@pytest.fixture
def catalogue():
    return build_catalogue(ITEMS, EMBEDDINGS, "v1")


def test_the_catalogue_is_the_last_row_of_each_item_in_id_order(catalogue):
    assert catalogue.ids.to_pylist() == ["x", "y", "z"]
    assert catalogue.rows(pa.array(["z", "new", "x", None])).tolist() == [3, 0, 1, 0]
    assert catalogue.table.vectors.tolist() == [[0, 0], [1, 0], [0, 2], [0, 0]], "another encoder's vector is not used"
    assert catalogue.available.tolist() == [False, True, False, True]
    assert catalogue.tags[[0, 3]].abs().sum() == 0
    assert catalogue.tags[1].tolist() == pytest.approx([0.5**0.5, 0.5**0.5]) and catalogue.tags[2].tolist() == [1.0, 0.0]


@pytest.fixture
def nobody_met(catalogue):
    return item_state(catalogue, rows("item_features", []), CUT, NAMES)


def entry(hours_before, item, weight=1.0):
    return {"ts": CUT - timedelta(hours=hours_before), "item_id": item, "weight": weight}


HISTORY_OF_U = [entry(50, "y", 0.5), entry(40, "gone", 0.9), entry(31, "x")]


@pytest.fixture
def served(catalogue):
    cached = [entry | {"event_id": f"e{n}", "times": 1.0 + n} for n, entry in enumerate(HISTORY_OF_U)]
    users = rows("user_features", [{"user_id": "u", "as_of": AS_OF, "recent": cached, **COUNTS}, {"user_id": "new", "as_of": CUT}])
    return user_states(users, catalogue, CUT, NAMES)


def example(**values):
    user = {**decay(COUNTS), "recent": HISTORY_OF_U}
    known = {
        "example_id": "e", "revision": 0, "user_id": "u", "item_id": "x", "ts": CUT, "known_at": CUT, "position": 4,
        "labels": {"click": 1.0}, "reward": 0.0, "reward_version": "v", "user": user, "item": decay(COUNTS), "hour": "2026-11-12T08",
        "met": {"ts": CUT - timedelta(hours=31), "times": 3.0},
    }  # fmt: skip
    return known | values


def test_serving_and_training_see_the_same_user_and_item(catalogue, served, nobody_liked):
    examples = [example(), example(user={"recent": None}, item_id="unknown", item={}, met=None)]
    batch = examples_batch(rows("training_examples", examples), catalogue, NAMES, TASKS, nobody_liked)
    for name in ("counters", "history", "history_age_h", "history_weight"):
        assert torch.allclose(getattr(batch.user, name).float(), getattr(served, name).float()), name
    assert served.history[0, -3:].tolist() == [2, 0, 1] and served.history[0, : HISTORY - 3].sum() == 0
    assert served.history_age_h[0, -3:].tolist() == pytest.approx([50, 40, 31])
    items = rows("item_features", [{"item_id": "x", "as_of": AS_OF, **COUNTS}])
    state = item_state(catalogue, items, CUT, NAMES)
    assert torch.allclose(batch.item_counters[0], state.counters[1])
    assert torch.allclose(batch.item_counters[1], state.counters[0]), "an unknown item has what an item nobody met has"
    assert batch.item.tolist() == [1, 0] and batch.item_age_h[0] == pytest.approx(100) == state.age_h[1]
    assert torch.allclose(batch.cross, cross_features(served, catalogue, state, torch.tensor([[1], [0]])).squeeze(1))
    assert batch.query.tolist() == [0, 0]


def test_a_search_is_a_row_behind_the_items_and_its_match_the_cosine_of_the_texts(catalogue, served, nobody_liked, nobody_met):
    """x is [1, 0], y is [0, 2], z has no vector; the vector of another encoder is nobody's."""
    vectors = [("to x", "v1", [3.0, 4.0]), ("to y", "v1", [0.0, 1.0]), ("old", "v2", [1.0, 0.0])]
    queries = rows("query_embeddings", [{"query": q, "encoder_version": v, "vector": vector} for q, v, vector in vectors])
    asked = build_catalogue(ITEMS, EMBEDDINGS, "v1", queries)
    assert asked.query_rows(pa.array(["to y", None, "to x", "old", "new"])).tolist() == [5, 0, 4, 0, 0]
    assert asked.table.vectors.tolist() == [*catalogue.table.vectors.tolist(), [3, 4], [0, 1]]
    assert catalogue.query_rows(pa.array(["to x"])).tolist() == [0]
    searches = [("to x", "x"), ("to x", "y"), ("to x", "z"), ("old", "x"), (None, "x")]
    batch = examples_batch(
        rows("training_examples", [example(query=query, item_id=item) for query, item in searches]), asked, NAMES, TASKS, nobody_liked
    )
    assert batch.query.tolist() == [4, 4, 4, 0, 0] and batch.cross[:, MATCH].tolist() == pytest.approx([0.6, 0.8, 0, 0, 0])
    found = cross_features(served, asked, nobody_met, torch.tensor([[1, 2, 3], [1, 2, 3]]), torch.tensor([4, 0]))
    assert found[..., MATCH].tolist() == [pytest.approx([0.6, 0.8, 0]), [0, 0, 0]]
    assert torch.equal(found[..., :MATCH], cross_features(served, asked, nobody_met, torch.tensor([[1, 2, 3], [1, 2, 3]]))[..., :MATCH])


def test_an_item_of_unknown_date_is_as_old_as_its_first_event(catalogue, nobody_liked):
    """x was published 100 hours ago, whoever saw it first; z and the unknown item have no date."""
    seen = CUT - timedelta(hours=7)
    examples = [example(item_id=item, item_first_seen=first) for item, first in (("x", seen), ("z", seen), ("z", None), ("other", None))]
    batch = examples_batch(rows("training_examples", examples), catalogue, NAMES, TASKS, nobody_liked)
    assert batch.item_age_h.tolist() == pytest.approx([100, 7, 0, 0])
    tables = [[{"item_id": item, "as_of": AS_OF, "first_seen": seen, **COUNTS} for item in items] for items in ("xz", "x")]
    met = [rows("item_features", values) for values in tables]
    both, one = (item_state(catalogue, features, CUT, NAMES) for features in met)
    assert both.age_h.tolist() == pytest.approx([0, 100, 100, 7]) and one.age_h.tolist() == pytest.approx([0, 100, 100, 0])
    assert fresh_items(catalogue, both, 24).tolist() == [False, False, False, True]
    assert fresh_items(catalogue, one, 24).sum() == 0, "what nobody met, of unknown date, is no news"
    assert fresh_items(catalogue, one, 100).tolist() == [False, True, False, False], "y is not available"


def test_what_was_met_says_how_often_and_how_long_ago(catalogue, served, nobody_met):
    found = cross_features(served, catalogue, nobody_met, torch.tensor([[3, 1, 0, 2], [1, 1, 0, 2]]))
    assert found[0, :, 1].tolist() == [0.0, 3.0, 0.0, 1.0] and found[0, :, 2].tolist() == pytest.approx([0, 24 / 55, 0, 24 / 74])
    assert found[1, :, 1:].abs().sum() == 0, "a new user met nothing"


def test_a_history_of_the_future_is_refused(catalogue, nobody_liked):
    user = {**decay(COUNTS), "recent": [*HISTORY_OF_U, entry(-0.01, "y")]}
    with pytest.raises(ValueError, match=r"1 of 2 training examples hold reactions later than .* `recloop rebuild`"):
        examples_batch(rows("training_examples", [example(), example(user=user)]), catalogue, NAMES, TASKS, nobody_liked)


def test_tag_affinity_is_the_weighted_mean_of_what_was_liked(catalogue, served, nobody_met):
    affinity = cross_features(served, catalogue, nobody_met, torch.tensor([[1, 2, 3], [1, 2, 3]]))[..., 0]
    root = 0.5**0.5
    assert affinity[0].tolist() == pytest.approx([(0.5 * root + 1.0) / 1.5, (0.5 + root) / 1.5, 0.0])
    assert affinity[1].tolist() == [0.0, 0.0, 0.0]


def test_a_late_label_is_one_positive_net_of_its_correction(catalogue, nobody_liked):
    examples = [
        example(labels={"click": 0.0, "watch": None}),
        example(revision=1, labels={"click": 1.0, "watch": 0.4}, previous_labels={"click": 0.0, "watch": 0.0}),
        example(revision=2, labels={"click": 1.0, "watch": 0.7}, previous_labels={"click": 1.0, "watch": 0.4}),
    ]
    table = rows("training_examples", examples)
    batch = examples_batch(table, catalogue, NAMES, TASKS, nobody_liked)
    assert batch.weight.tolist() == [1, 1, 1, -1, -1]
    assert (batch.weight.unsqueeze(1) * batch.labels).sum(0).tolist() == pytest.approx([1.0, 0.7])
    assert batch.weight.sum() == 1, "an impression counts once, however often its label changed"
    assert torch.equal(batch.user.history[3], batch.user.history[1])
    assert len(examples_batch(table, catalogue, NAMES, TASKS, nobody_liked, corrections=False)) == 3


def test_serving_and_training_see_the_same_likers(catalogue, served):
    """x and y have the same likers but one; the user's history holds both, and an item that is gone."""
    features = rows("item_features", [
        {"item_id": item, "as_of": AS_OF, "likers": [{"bucket": bucket, "amount": 1} for bucket in buckets]}
        for item, buckets in (("x", (3, 5, 8, 9)), ("y", (3, 5, 8)), ("z", (3, 700)))
    ])  # fmt: skip
    state = item_state(catalogue, features, CUT, NAMES)

    nobody = Likers.of_counts(*[np.zeros(0, dtype=np.int64)] * 3, items=3)

    class AsOfTheCut:
        def parts(self, known_us, catalogue):
            for one in np.unique(known_us):
                later = one > int(CUT.timestamp() * 1e6)
                yield np.flatnonzero(known_us == one), nobody if later else state.likers

    examples = [example(item_id=item) for item in ("z", "x", "y", "gone")] + [example(item_id="z", known_at=CUT + timedelta(hours=1))]
    batch = examples_batch(rows("training_examples", examples), catalogue, NAMES, TASKS, AsOfTheCut())
    candidates = cross_features(served, catalogue, state, torch.tensor([[3, 1, 2, 0], [3, 1, 2, 0]]))
    columns = [CROSS.index(name) for name in LIKED_TOGETHER]
    assert torch.allclose(batch.cross[:4][:, columns], candidates[0][:, columns]) and not candidates[1][:, columns].any()
    likes, people = 9, {"x": 4, "y": 3, "z": 2}
    expected = {"x": (4 + 3 + 1) / likes, "y": (3 + 3 + 1) / likes, "z": (2 + 1 + 1) / likes}  # likes of the item's people

    def log_ratio(item, found, of):
        return np.log((found + 1) / (of * expected[item] + 1))

    of_both = log_ratio("z", 0.5 * 1 + 1.0 * 1, 0.5 * people["y"] + people["x"])
    assert candidates[0, 0, columns].tolist() == pytest.approx([of_both] * 2, rel=1e-5)
    assert candidates[0, 1, columns].tolist() == pytest.approx([log_ratio("x", 0.5 * 3, 0.5 * people["y"])] * 2, rel=1e-5)
    assert candidates[0, 2, columns].tolist() == pytest.approx([log_ratio("y", 1.0 * 3, people["x"])] * 2, rel=1e-5)
    assert not batch.cross[4][columns].any(), "each example by what was known before it"
