"""Spark's five ways to write: what each replaces, what it leaves, and what its commit says."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import functions as F

from pipelines.lake.tables import read_frame, read_table, table_path, table_version
from pipelines.lake.writes import ContractError, append_new, in_contract_order, merge_by_key, overwrite, replace_changed, replace_hours
from spark_jobs.contracts import TABLES

FIRST, SECOND = "2026-11-10T08", "2026-11-10T09"
REFUSED = "raw binary, detail string, reason string, source_file string, line bigint, hour string"
SLATE = (
    "slate_id string, position int, user_id string, surface string, item_id string, propensity double, score double, source string, "
    "hour string"
)
VECTOR = "item_id string, encoder_version string, text_hash string, vector array<float>"


def history(lake, name):
    return DeltaTable(str(table_path(lake, name))).history()


def said(lake, name):
    """What the newest commit says of itself."""
    return json.loads(history(lake, name)[0]["userMetadata"])


def test_a_frame_that_breaks_the_contract_names_what_is_missing_and_surplus(spark):
    frame = spark.createDataFrame([("a", "v", 1)], "item_id string, encoder_version string, colour int")
    with pytest.raises(ContractError, match=r"item_embeddings: missing columns \['text_hash', 'vector'\], surplus columns \['colour'\]"):
        in_contract_order(frame, "item_embeddings")
    schema = "vector array<double>, text_hash string, encoder_version string, item_id string"
    frame = spark.createDataFrame([([1.0], "h", "v", "a")], schema)
    ordered = in_contract_order(frame, "item_embeddings")
    assert ordered.columns == TABLES["item_embeddings"].schema.names
    assert dict(ordered.dtypes)["vector"] == "array<float>"


def test_replacing_hours_leaves_the_others_and_empties_an_hour_without_rows(spark, lake):
    def refused(*rows):
        return spark.createDataFrame([(b"raw", "d", "bad_json", file, line, hour) for file, line, hour in rows], REFUSED)

    def held():
        return sorted((row["source_file"], row["line"], row["hour"]) for row in read_table(lake, "quarantine").to_pylist())

    both = [("a", 1, FIRST), ("a", 2, FIRST), ("a", 3, SECOND)]
    version = replace_hours(refused(*both), lake, "quarantine", [FIRST, SECOND], "ingest")
    assert version == table_version(lake, "quarantine") and held() == both
    assert {name: said(lake, "quarantine")[name] for name in ("step", "hours")} == {"step": "ingest", "hours": f"{FIRST}..{SECOND}"}
    replace_hours(refused(*both), lake, "quarantine", [FIRST, SECOND], "ingest")
    assert held() == both
    replace_hours(refused(("b", 1, FIRST)), lake, "quarantine", [FIRST], "ingest")
    assert held() == [("a", 3, SECOND), ("b", 1, FIRST)]
    replace_hours(refused(), lake, "quarantine", [FIRST], "ingest")
    assert held() == [("a", 3, SECOND)]
    with pytest.raises(Exception, match="DELTA_REPLACE_WHERE_MISMATCH"):
        replace_hours(refused(("c", 1, SECOND)), lake, "quarantine", [FIRST], "ingest")
    assert held() == [("a", 3, SECOND)]
    assert sorted(row["line"] for row in read_table(lake, "quarantine", version=version).to_pylist()) == [1, 2, 3]


def test_appending_never_replaces_what_is_there(spark, lake):
    def slate(*rows):
        full = [(slate_id, position, "u", "home", item, p, 0.1, "policy", FIRST) for slate_id, position, item, p in rows]
        return spark.createDataFrame(full, SLATE)

    def held():
        return sorted((row["slate_id"], row["position"], row["item_id"]) for row in read_table(lake, "slate_log").to_pylist())

    append_new(slate(("s", 0, "a", 0.5), ("s", 1, "b", 1.0)), lake, "slate_log", [FIRST], "score_users")
    append_new(slate(("s", 0, "other", 0.5), ("s", 2, "c", 0.5), ("t", 0, "a", 0.5)), lake, "slate_log", [FIRST], "score_users")
    wanted = [("s", 0, "a"), ("s", 1, "b"), ("s", 2, "c"), ("t", 0, "a")]
    assert held() == wanted and said(lake, "slate_log")["step"] == "score_users"
    for propensity in (0.0, 1.01, float("nan"), None):
        with pytest.raises(Exception, match=r"CHECK constraint|NOT NULL"):
            append_new(slate(("v", 0, "a", propensity)), lake, "slate_log", [FIRST], "score_users")
    assert held() == wanted


def test_merging_updates_by_key_and_says_so_in_its_own_commit_only(spark, lake):
    def vectors(*rows):
        return spark.createDataFrame([(item, version, text, [value]) for item, version, text, value in rows], VECTOR)

    def held():
        rows = read_table(lake, "item_embeddings").to_pylist()
        return sorted((row["item_id"], row["encoder_version"], row["text_hash"], row["vector"][0]) for row in rows)

    overwrite(vectors(("a", "v1", "h", 1.0), ("b", "v1", "h", 1.0)), lake, "item_embeddings", [FIRST], "embed_items")
    assert said(lake, "item_embeddings")["hours"] == f"{FIRST}..{FIRST}"
    merge_by_key(vectors(("a", "v1", "new", 2.0), ("a", "v2", "h", 3.0)), lake, "item_embeddings", [SECOND], "embed_items")
    assert held() == [("a", "v1", "new", 2.0), ("a", "v2", "h", 3.0), ("b", "v1", "h", 1.0)]
    assert said(lake, "item_embeddings")["hours"] == f"{SECOND}..{SECOND}" and len(said(lake, "item_embeddings")["code_version"]) == 12
    twice = vectors(("b", "v1", "x", 4.0), ("b", "v1", "y", 5.0))
    with pytest.raises(Exception, match="MULTIPLE_SOURCE_ROW"):
        merge_by_key(twice, lake, "item_embeddings", [SECOND], "embed_items")
    vectors(("c", "v1", "h", 6.0)).write.format("delta").mode("append").save(str(table_path(lake, "item_embeddings")))
    assert "userMetadata" not in history(lake, "item_embeddings")[0], "the next commit of the session does not carry the hour of a merge"
    overwrite(vectors(("z", "v1", "h", 7.0)), lake, "item_embeddings", [SECOND], "embed_items")
    assert held() == [("z", "v1", "h", 7.0)]


SCORED = (
    "user_id string, surface string, position int, item_id string, score double, propensity double, slate_id string, arm string, "
    "source string, reason string, release_id string, versions struct<encoder: string, ranker: string, policy: string>, hour string, "
    "generated_at timestamp"
)


def test_replacing_what_changed_tells_of_what_differs_and_of_nothing_else(spark, lake):
    def scored(at, *rows, arm="production"):
        rest = ("r1", ("1", "1", "1"), FIRST, datetime(2026, 11, 10, at, tzinfo=UTC))
        full = [(user, "home", n, item, 0.5, 0.5, "s", arm, "policy", reason, *rest) for user, n, item, reason in rows]
        return spark.createDataFrame(full, SCORED)

    def changes(version):
        feed = DeltaTable(str(table_path(lake, "scores"))).load_cdf(version, version).read_all()
        return sorted((row["_change_type"], row["user_id"], row["position"], row["item_id"]) for row in pa.table(feed).to_pylist())

    def publish(frame):
        return replace_changed(frame, lake, "scores", [FIRST], "score_users", besides=["generated_at"])

    first = publish(scored(9, ("u", 0, "a", None), ("u", 1, "b", "r"), ("v", 0, "a", None), ("v", 1, "c", None)))
    assert [change[0] for change in changes(first)] == ["insert"] * 4 and said(lake, "scores")["step"] == "score_users"
    second = publish(scored(10, ("u", 0, "a", None), ("u", 1, "d", "r"), ("v", 0, "a", "new"), ("w", 0, "a", None)))
    assert second == first + 1 == table_version(lake, "scores")
    assert changes(second) == [
        ("delete", "v", 1, "c"), ("insert", "w", 0, "a"),
        ("update_postimage", "u", 1, "d"), ("update_postimage", "v", 0, "a"),
        ("update_preimage", "u", 1, "b"), ("update_preimage", "v", 0, "a"),
    ]  # fmt: skip
    held = {(row["user_id"], row["position"]): (row["item_id"], row["generated_at"].hour) for row in read_table(lake, "scores").to_pylist()}
    assert held == {("u", 0): ("a", 9), ("u", 1): ("d", 10), ("v", 0): ("a", 10), ("w", 0): ("a", 10)}, "a row that is as it was stays"
    same = scored(11, ("u", 0, "a", None), ("u", 1, "d", "r"), ("v", 0, "a", "new"), ("w", 0, "a", None))
    assert publish(same) == second == table_version(lake, "scores"), "nothing differs: no commit"
    last = publish(scored(11, ("w", 0, "a", None), arm="challenger"))
    assert [change[:3] for change in changes(last)] == [
        ("delete", "u", 0), ("delete", "u", 1), ("delete", "v", 0), ("delete", "w", 0), ("insert", "w", 0),
    ], "no row stays"  # fmt: skip
    by_spark = read_frame(spark, lake, "scores").toArrow().to_pylist()
    assert by_spark == read_table(lake, "scores").to_pylist() and len(by_spark) == 1
    with pytest.raises(Exception, match="CHECK constraint"):
        publish(scored(12, ("w", 0, "a", None)).withColumn("propensity", F.lit(1.5)))
    assert table_version(lake, "scores") == last


def test_both_engines_read_the_same_rows_and_the_log_names_nobody(spark, lake):
    names = TABLES["impressions"].schema.names
    secret = "somebody-known-by-name"
    rows = spark.sql(
        f"SELECT concat('e', id) event_id, IF(id = 0, NULL, 'r') request_id, 's' slate_id, '{secret}' user_id, concat('i', id) item_id, "
        "CAST(id AS INT) position, timestamp_micros(1762761600123456 + id) ts, 'home' surface, CAST(NULL AS STRING) query, "
        "map('k', concat('v', id)) context, 0.5D propensity, CAST(NULL AS STRING) policy_version, "
        f"IF(id < 2, '{FIRST}', '{SECOND}') hour FROM range(3)"
    )
    replace_hours(rows.select(*names), lake, "impressions", [FIRST, SECOND], "ingest")
    by_rust = sorted(read_table(lake, "impressions").to_pylist(), key=lambda row: row["event_id"])
    by_spark = sorted(read_frame(spark, lake, "impressions").toArrow().to_pylist(), key=lambda row: row["event_id"])
    assert by_rust == by_spark and len(by_rust) == 3 and by_rust[1]["ts"].microsecond == 123457
    assert read_table(lake, "impressions", hours=[FIRST], columns=["event_id"]).num_rows == 2
    log = table_path(lake, "impressions") / "_delta_log"
    commits = [path.read_text() for path in log.glob("*.json")]
    assert any("numRecords" in text for text in commits)
    assert not [text for text in commits if secret in text], "statistics of id columns would hold raw ids"
