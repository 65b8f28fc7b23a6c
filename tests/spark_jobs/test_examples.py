from datetime import UTC, datetime, timedelta

import pytest

from spark_jobs.examples import attributed, labels_per_example, last_revisions, late_revisions
from spark_jobs.rewards import labels_struct

START = datetime(2026, 11, 10, 8, tzinfo=UTC)
FEEDBACK = (
    "event_id string, request_id string, user_id string, item_id string, ts timestamp, type string, value double, label double, "
    "hour string"
)
SHOWN = "event_id string, request_id string, user_id string, item_id string, ts timestamp, hour string"
TASKS = ("click", "watch", "rating")


def at(minutes):
    return START + timedelta(minutes=minutes)


def hour(minutes):
    return at(minutes).strftime("%Y-%m-%dT%H")


@pytest.fixture
def credited(spark):
    def answer(feedback, shown, windows=None):
        reactions = [(name, request, "u", "i", at(m), kind, None, 1.0, hour(m)) for name, request, m, kind in feedback]
        impressions = [(name, request, "u", "i", at(m), hour(m)) for name, request, m in shown]
        windows = windows or {"click": 1, "rating": 24}
        rows = attributed(spark.createDataFrame(reactions, FEEDBACK), spark.createDataFrame(impressions, SHOWN), windows).collect()
        assert len(rows) == len(feedback), "a reaction credits one impression"
        return {row["event_id"]: (row["example_id"], row["rule"]) for row in rows}

    return answer


def test_a_reaction_credits_its_request_else_the_latest_earlier_showing_in_the_window(credited):
    shown = [("a", "r1", 0), ("b", "r2", 20), ("c", "r3", 50)]
    feedback = [
        ("same", "r1", 30, "click"), ("latest", None, 30, "click"), ("strange request", "r9", 30, "click"),
        ("before all", None, -5, "click"), ("too late", None, 111, "click"), ("rating has a day", None, 111, "rating"),
        ("own request too late", "r1", 61, "click"), ("own request shown later", "r3", 40, "click"),
        ("just in time", None, 110, "click"), ("at once", None, 50, "click"),
    ]  # fmt: skip
    assert credited(feedback, shown) == {
        "same": ("a", "request"), "latest": ("b", "window"), "strange request": ("b", "window"), "before all": (None, "none"),
        "too late": (None, "none"), "rating has a day": ("c", "window"), "own request too late": ("c", "window"),
        "own request shown later": ("b", "window"), "just in time": ("c", "window"), "at once": ("c", "window"),
    }  # fmt: skip


def test_several_reactions_of_a_kind_count_once_with_the_largest_label(spark):
    schema = "example_id string, example_hour string, hour string, type string, label double"
    rows = [("x", "h1", "h1", "watch", 0.2), ("x", "h1", "h1", "watch", 0.7), ("x", "h1", "h2", "rating", 1.0)]
    rows.append((None, None, "h1", "click", 1.0))
    found = {(row["example_id"], row["hour"]): row for row in labels_per_example(spark.createDataFrame(rows, schema), TASKS).collect()}
    assert set(found) == {("x", "h1"), ("x", "h2")}
    assert found["x", "h1"]["watch"] == 0.7 and found["x", "h1"]["rating"] is None and found["x", "h2"]["rating"] == 1.0


def examples(spark, rows):
    """(example_id, revision, click, rating) with features that a revision must keep."""
    frame = spark.createDataFrame(rows, "example_id string, revision int, click double, rating double")
    frame = frame.selectExpr("*", "0D AS watch", "'features' AS user", "'h1' AS hour")
    labels = labels_struct({task: frame[task] for task in TASKS})
    return frame.withColumn("labels", labels).withColumn("previous_labels", labels).select(
        "example_id", "revision", "user", "labels", "previous_labels", "hour"
    )


def test_late_feedback_makes_numbered_revisions_with_the_labels_before(spark):
    late = spark.createDataFrame(
        [("a", "h1", "h2", 1.0, None), ("a", "h1", "h3", None, 1.0), ("b", "h1", "h2", 1.0, None)],
        "example_id string, example_hour string, hour string, click double, rating double",
    ).selectExpr("*", "CAST(NULL AS DOUBLE) AS watch")
    rows = late_revisions(late, examples(spark, [("a", 0, 0.0, 0.0), ("b", 0, 1.0, 0.0)]), TASKS).collect()
    found = {(row["example_id"], row["hour"]): row for row in rows}
    assert set(found) == {("a", "h2"), ("a", "h3")}, "b said nothing new"
    first, second = found["a", "h2"], found["a", "h3"]
    assert (first["revision"], second["revision"]) == (1, 2)
    assert (first["labels"]["click"], first["previous_labels"]["click"], first["labels"]["rating"]) == (1.0, 0.0, 0.0)
    assert (second["labels"]["click"], second["labels"]["rating"], second["previous_labels"]["rating"]) == (1.0, 1.0, 0.0)
    assert first["user"] == second["user"] == "features"


def test_the_next_revision_goes_on_from_the_last_one(spark):
    base = examples(spark, [("a", 0, 0.0, 0.0), ("b", 0, 0.0, 0.0)])
    revisions = examples(spark, [("a", 1, 1.0, 0.0), ("a", 2, 1.0, 1.0)]).select("example_id", "revision", "labels")
    found = {row["example_id"]: row for row in last_revisions(base, revisions).collect()}
    assert (found["a"]["revision"], found["a"]["labels"]["rating"]) == (2, 1.0)
    assert (found["b"]["revision"], found["b"]["labels"]["click"]) == (0, 0.0)
    schema = "example_id string, example_hour string, hour string, click double, rating double, watch double"
    late = spark.createDataFrame([("a", "h1", "h4", None, None, 0.5), ("b", "h1", "h4", None, 1.0, None)], schema)
    revised = {row["example_id"]: row for row in late_revisions(late, last_revisions(base, revisions), TASKS).collect()}
    labels = {name: [[row[which][task] for task in TASKS] for which in ("previous_labels", "labels")] for name, row in revised.items()}
    assert {name: row["revision"] for name, row in revised.items()} == {"a": 3, "b": 1}
    assert labels == {"a": [[1.0, 0.0, 1.0], [1.0, 0.5, 1.0]], "b": [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]}
