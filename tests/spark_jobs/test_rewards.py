import pytest

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
    items = spark.createDataFrame([("film", {"duration_s": "200"})], "item_id string, attributes map<string,string>")
    labelled = with_label(spark.createDataFrame(rows, "event_id string, type string, item_id string, value double"), items, terms)
    worth = {row["event_id"]: row for row in labelled.join(feedback_rewards(labelled, terms), on="event_id", how="inner").collect()}
    found = [(worth[str(n)]["label"], worth[str(n)]["reward"]) for n in range(len(rows))]
    expected = [(0.5, 0.05), (0.5, 1.0), (0.5, 1.0), (0.5, 0.5), (0.25, 0.25), (1.0, 0.2)]
    assert found == [pytest.approx(pair) for pair in expected]
