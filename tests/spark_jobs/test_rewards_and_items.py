import hashlib

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from pipelines.settings import RewardTermSettings
from spark_jobs.catalogue import item_texts
from spark_jobs.items import current_items, only_changed, with_text_hash
from spark_jobs.rewards import feedback_rewards, labels_struct, reward_of, with_label

TERMS = (
    RewardTermSettings(task="click", weight=0.2, cap=1.0),
    RewardTermSettings(task="watch", weight=2.0, cap=1.5, per_attribute="duration_s"),
    RewardTermSettings(task="rating", weight=0.5, cap=1.0, positive_from=4.0),
    RewardTermSettings(task="hide", weight=-1.0, cap=1.0),
)
CATALOGUE = [
    ("film", {"duration_s": "100"}), ("untimed", {"genre": "drama"}), ("bare", None), ("zero", {"duration_s": "0"}),
    ("odd", {"duration_s": "long"}), ("nan", {"duration_s": "NaN"}),
]  # fmt: skip
# what happened: (item, type, value) -> label, reward, weight in the history; the largest term is 2 × 1.5 = 3
EXPECTED = {
    ("film", "click", None): (1.0, 0.2, 0.2 / 3),
    ("film", "watch", 30.0): (0.3, 0.6, 0.2),
    ("film", "watch", 100.0): (1.0, 2.0, 2 / 3),
    ("film", "watch", 999.0): (1.5, 3.0, 1.0),
    ("film", "watch", None): (0.0, 0.0, 0.0),
    ("film", "rating", 4.0): (1.0, 0.5, 0.5 / 3),
    ("film", "rating", 5.0): (1.0, 0.5, 0.5 / 3),
    ("film", "rating", 3.9): (0.0, 0.0, 0.0),
    ("film", "rating", None): (0.0, 0.0, 0.0),
    ("film", "hide", None): (1.0, -1.0, 0.0),
    ("film", "like", None): (1.0, 0.0, 0.0),
    ("untimed", "watch", 30.0): (0.0, 0.0, 0.0),
    ("untimed", "click", None): (1.0, 0.2, 0.2 / 3),
    ("bare", "watch", 30.0): (0.0, 0.0, 0.0),
    ("zero", "watch", 30.0): (0.0, 0.0, 0.0),
    ("odd", "watch", 30.0): (0.0, 0.0, 0.0),
    ("nan", "watch", 30.0): (0.0, 0.0, 0.0),
    ("unknown", "watch", 30.0): (0.0, 0.0, 0.0),
    ("unknown", "click", None): (1.0, 0.2, 0.2 / 3),
}


def test_what_each_reaction_is_worth(spark):
    rows = [(str(number), *event) for number, event in enumerate(EXPECTED)]
    feedback = spark.createDataFrame(rows, "event_id string, item_id string, type string, value double")
    items = spark.createDataFrame(CATALOGUE, "item_id string, attributes map<string,string>")
    hour = F.lit("2026-11-10T08")
    labelled = with_label(feedback.withColumn("hour", hour), items.withColumn("updated_hour", hour), TERMS)
    worth = labelled.join(feedback_rewards(labelled, TERMS), on="event_id", how="inner").collect()
    found = {(row["item_id"], row["type"], row["value"]): (row["label"], row["reward"], row["weight"]) for row in worth}
    assert found.keys() == EXPECTED.keys() and len(worth) == len(EXPECTED)
    for event, expected in EXPECTED.items():
        assert found[event] == pytest.approx(expected), event


def test_the_reward_of_an_example_is_the_weighted_sum_of_its_labels(spark):
    rows = [(1.0, 0.25, 1.0, 0.0), (0.0, 0.0, 0.0, 0.0), (None, 1.5, None, None), (1.0, None, None, 1.0)]
    frame = spark.createDataFrame(rows, "click double, watch double, rating double, hide double")
    labels = labels_struct({term.task: F.col(term.task) for term in TERMS})
    found = frame.select(labels.alias("labels")).withColumn("reward", reward_of("labels", TERMS)).collect()
    assert [row["reward"] for row in found] == pytest.approx([0.2 + 0.5 + 0.5, 0.0, 3.0, 0.2 - 1.0])
    assert found[0]["labels"]["share"] is None and found[0]["labels"]["watch"] == 0.25


def test_an_item_is_as_its_last_row_says(spark):
    rows = [("a", "2026-11-10T09", "second"), ("a", "2026-11-09T23", "first"), ("b", "2026-11-01T00", "only")]
    rows.append(("a", "2026-11-10T10", "third"))
    found = current_items(spark.createDataFrame(rows, "item_id string, updated_hour string, title string")).collect()
    assert sorted((row["item_id"], row["title"]) for row in found) == [("a", "third"), ("b", "only")]


def test_only_a_text_that_this_encoder_has_not_read_is_encoded(spark):
    def text_hash(text):
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    rows = [("same", "T", " as before "), ("changed", "T", "now this"), ("new", "T", "fresh"), ("other encoder", "T", "x"),
            ("untitled text", "Título", "  "), ("no text", "Title", None), ("text of another", "T", "fresh")]  # fmt: skip
    items = with_text_hash(spark.createDataFrame(rows, "item_id string, title string, text string"))
    held = [("same", "1", text_hash("as before")), ("changed", "1", text_hash("now that")), ("other encoder", "2", text_hash("x")),
            ("no text", "1", text_hash("Title")), ("new", "2", text_hash("fresh"))]  # fmt: skip
    embeddings = spark.createDataFrame(held, "item_id string, encoder_version string, text_hash string")
    found = {row["item_id"]: row["encoder_text"] for row in only_changed(items, embeddings, "1").collect()}
    assert found == {"changed": "now this", "new": "fresh", "other encoder": "x", "untitled text": "Título", "text of another": "fresh"}
    arrow = pa.table({name: [row[place] for row in rows] for place, name in enumerate(("item_id", "title", "text"))})
    texts = dict(zip(arrow["item_id"].to_pylist(), item_texts(arrow), strict=True))
    assert texts == {row["item_id"]: row["encoder_text"] for row in items.collect()}, "outside Spark the encoder reads the same"
