import pytest
from pyspark.sql import functions as F

from pipelines.settings import RewardTermSettings
from spark_jobs.rewards import feedback_rewards, with_label


def test_a_label_counts_up_to_its_cap_whatever_its_kind(spark):
    terms = (
        RewardTermSettings(task="share", weight=0.1, cap=0.5),
        RewardTermSettings(task="purchase", weight=2.0, cap=0.5, positive_from=0.0),
        RewardTermSettings(task="watch", weight=1.0, cap=0.5, per_attribute="duration_s"),
        RewardTermSettings(task="click", weight=0.2, cap=3.0),
    )
    feedback = [("share", None), ("purchase", None), ("purchase", 9.0), ("watch", 150.0), ("watch", 50.0), ("click", None)]
    rows = [(str(n), kind, "film", value) for n, (kind, value) in enumerate(feedback)]
    schema = "item_id string, updated_hour string, attributes map<string,string>"
    items = spark.createDataFrame([("film", "2026-11-10T08", {"duration_s": "200"})], schema)
    reactions = spark.createDataFrame(rows, "event_id string, type string, item_id string, value double")
    labelled = with_label(reactions.withColumn("hour", F.lit("2026-11-10T08")), items, terms)
    worth = {row["event_id"]: row for row in labelled.join(feedback_rewards(labelled, terms), on="event_id", how="inner").collect()}
    found = [(worth[str(n)]["label"], worth[str(n)]["reward"]) for n in range(len(rows))]
    expected = [(0.5, 0.05), (0.5, 1.0), (0.5, 1.0), (0.5, 0.5), (0.25, 0.25), (1.0, 0.2)]
    assert found == [pytest.approx(pair) for pair in expected]


def test_a_purchase_pays_by_its_value_or_else_by_the_price_of_its_time(spark):
    terms = (RewardTermSettings(task="purchase", weight=2.0, cap=1.0, per_value=50.0),)
    states = [("tea", "h2", None, 10.0), ("tea", "h4", None, 20.0), ("gift", "h1", None, None)]
    items = spark.createDataFrame(states, "item_id string, updated_hour string, attributes map<string,string>, price double")
    bought = [("a", "tea", 5.0, "h3"), ("b", "tea", None, "h3"), ("c", "tea", None, "h5"), ("d", "tea", 80.0, "h5")]
    bought.append(("e", "gift", None, "h5"))
    rows = [(name, "purchase", item, value, hour) for name, item, value, hour in bought]
    reactions = spark.createDataFrame(rows, "event_id string, type string, item_id string, value double, hour string")
    labelled = with_label(reactions, items, terms)
    assert "price" not in labelled.columns
    found = {row["event_id"]: row["reward"] for row in feedback_rewards(labelled, terms).collect()}
    assert found == pytest.approx({"a": 0.2, "b": 0.4, "c": 0.8, "d": 2.0, "e": 2.0})


def test_a_label_is_of_the_item_as_it_was_in_the_hour_of_the_reaction(spark):
    terms = (RewardTermSettings(task="watch", weight=1.0, cap=1.0, per_attribute="duration_s"),)
    states = [("film", "h2", {"duration_s": "200"}), ("film", "h4", {"duration_s": "400"}), ("film", "h6", {})]
    items = spark.createDataFrame(states, "item_id string, updated_hour string, attributes map<string,string>")
    rows = [(f"h{n}", "watch", "film", 100.0, f"h{n}") for n in range(1, 8)]
    reactions = spark.createDataFrame(rows, "event_id string, type string, item_id string, value double, hour string")
    found = {row["event_id"]: row["label"] for row in with_label(reactions, items, terms).collect()}
    assert found == {"h1": 0.0, "h2": 0.5, "h3": 0.5, "h4": 0.25, "h5": 0.25, "h6": 0.0, "h7": 0.0}
