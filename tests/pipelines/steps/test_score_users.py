"""The scored table of an hour on the real server: logged before it is published, once, by the release frozen first."""

import json
import shutil
import threading
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
import torch
from deltalake import DeltaTable

from models.artifacts import load_ranker, save_ranker
from pipelines.errors import UserError
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.session import spark_session
from pipelines.lake.tables import read_frame, read_table
from pipelines.local.verification import verify
from pipelines.registry.releases import (
    ReleaseRow,
    all_releases,
    append_decision,
    challenger_before,
    newest_production,
    release_folder,
)
from pipelines.settings import load_settings
from pipelines.steps import build_features, moves, rebuild, roll_back, score_users, step
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.step import attempt, writer_lock
from spark_jobs.contracts import DEFAULT_USER

START = "2026-11-10T08"
NEXT = shift(START, 1)
ITEMS = [f"m{n:02d}" for n in range(24)]


def land(settings, kind, name, records):
    path = settings.landing / kind / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def impression(number, hour):
    at = (parse_hour(hour) + timedelta(minutes=number)).isoformat()
    return {"event_id": f"i{hour}{number}", "user_id": f"new{number}", "item_id": ITEMS[number], "position": 0, "ts": at}


@pytest.fixture(scope="module")
def release(save_release):
    def decide(settings, number, hour, since):
        versions = {"encoder": "1", "ranker": str(number), "policy": str(number)}
        before = f"r{number - 1:06d}" if number > 1 else None
        row = ReleaseRow(f"r{number:06d}", hour, versions, "refresh", "production", "test", since, end_of(hour))
        save_release(release_folder(settings, row.release_id), text_dim=384, encoder_version=encoder_spec(settings).version, seed=number)
        append_decision(settings, row, before)

    return decide


@pytest.fixture(scope="module")
def first_hour(tmp_path_factory, spark_server, release):
    """A root after the first load, with a first release; made once, since its tables take longest."""
    home = tmp_path_factory.mktemp("first_hour")
    (home / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\nspark: {{remote: '{spark_server}'}}\n")
    settings = load_settings(home, {})
    published = (parse_hour(START) - timedelta(days=9)).isoformat()
    land(settings, "items", "catalogue", [{"item_id": item, "title": f"Film {item}", "published_at": published} for item in ITEMS])
    times = [(parse_hour(START) + timedelta(minutes=n)).isoformat() for n in range(9)]
    ratings = [{"user_id": f"u{n % 3}", "item_id": ITEMS[n], "ts": ts, "type": "rating", "value": 5} for n, ts in enumerate(times)]
    land(settings, "feedback", "history", ratings)
    land(settings, "impressions", "one", [impression(n, START) for n in range(2)])
    build_features.run(settings, START)
    release(settings, 1, START, START)
    return home


@pytest.fixture(scope="module")
def second_hour(tmp_path_factory, first_hour):
    """The same after its first scored hour, with forty more users in the next one, which is not scored yet."""
    settings = load_settings(shutil.copytree(first_hour, tmp_path_factory.mktemp("second") / "hour"), {})
    score_users.run(settings, START)
    times = [(parse_hour(NEXT) + timedelta(minutes=n)).isoformat() for n in range(40)]
    liked = [{"user_id": f"u{n}", "item_id": ITEMS[n % 20], "ts": ts, "type": "rating", "value": 5} for n, ts in enumerate(times)]
    land(settings, "feedback", "many", liked)
    build_features.run(settings, NEXT)
    return settings.home


@pytest.fixture
def root(first_hour, tmp_path):
    """A copy of the first hour."""
    return load_settings(shutil.copytree(first_hour, tmp_path / "root"), {})


@pytest.fixture
def grown(second_hour, tmp_path):
    """A copy of the second."""
    return load_settings(shutil.copytree(second_hour, tmp_path / "grown"), {})


def rows(settings, table, version=None):
    found = read_table(settings, table, version=version).to_pylist()
    return sorted(found, key=lambda row: (row.get("user_id", ""), row.get("hour", ""), row.get("position", 0)))


def versions(settings):
    return {name: DeltaTable(str(settings.warehouse / name)).version() for name in ("slate_decisions", "slate_log", "scores")}


def committed(settings, table):
    return DeltaTable(str(settings.warehouse / table)).history()[0]["timestamp"]


def test_an_hour_is_scored_once_and_its_release_is_frozen(root, release, monkeypatch):
    outcome = score_users.run(root, START)
    scores, users = rows(root, "scores"), {"u0", "u1", "u2", "new0", "new1", DEFAULT_USER}
    assert outcome.status == "done" and {row["user_id"] for row in scores} == users
    for user in users:
        own = [row for row in scores if row["user_id"] == user]
        assert [row["position"] for row in own] == list(range(root.slates.size))
        assert len({row["item_id"] for row in own}) == root.slates.size and len({row["slate_id"] for row in own}) == 1
    assert {row["user_id"]: row["source"] for row in scores} == {
        **dict.fromkeys(("u0", "u1", "u2"), "policy"), **dict.fromkeys(("new0", "new1"), "cold_start"), DEFAULT_USER: "fallback",
    }  # fmt: skip
    assert not {row["item_id"] for row in scores if row["user_id"] == "u1"} & {ITEMS[1], ITEMS[4], ITEMS[7]}, "what u1 rated"
    assert {(row["release_id"], row["hour"], row["generated_at"]) for row in scores} == {("r000001", START, end_of(START))}
    assert {row["reason"][:10] for row in scores if row["source"] == "policy"} == {"like item "}

    log = {(row["slate_id"], row["position"]): row for row in rows(root, "slate_log")}
    decisions = {row["slate_id"]: row for row in rows(root, "slate_decisions")}
    assert len(log) == len(scores) and len(decisions) == len(users)
    for row in scores:
        kept, decision = log[row["slate_id"], row["position"]], decisions[row["slate_id"]]
        drawn = decision["action"][row["position"]]
        assert (row["item_id"], row["propensity"], row["score"]) == (kept["item_id"], kept["propensity"], kept["score"])
        assert row["item_id"] == decision["candidates"][drawn] and row["propensity"] == decision["propensities"][row["position"]]
    assert committed(root, "slate_decisions") < committed(root, "slate_log") < committed(root, "scores"), "logged before it is published"

    before = versions(root)
    assert score_users.run(root, START).status == "unchanged" and versions(root) == before

    release(root, 2, START, START)
    monkeypatch.setattr(step, "code_version", lambda: "other")
    assert score_users.run(root, START).status == "done"
    assert rows(root, "scores") == scores, "other code with the same outcome: the same slates, by the release that was frozen"
    assert len(rows(root, "slate_log")) == len(scores), "nothing doubled"

    build_features.run(root, NEXT)
    encoded = [ledger.last_done(root, "embed_items", hour) for hour in (START, NEXT)]
    assert [row.rows_out for row in encoded] == [len(ITEMS), 0]
    assert set(encoded[1].seconds) == {"find"}, "where no text changed no model is called"
    score_users.run(root, NEXT)
    second = rows(root, "scores")
    assert {(row["release_id"], row["hour"]) for row in second} == {("r000002", NEXT)}
    assert not {row["slate_id"] for row in second} & set(decisions)
    assert len(rows(root, "slate_log")) == len(scores) + len(second), "the slates of the hour before stay logged"
    assert score_users.run(root, START).status == "superseded" and rows(root, "scores") == second
    row = ledger.last_done(root, score_users.STEP, NEXT)
    assert rows(root, "scores", row.outputs["scores"]) == second and row.rows_out == len(second)
    assert row.inputs["user_features"] == ledger.last_done(root, "build_features", NEXT).outputs["user_features"]


def test_damaged_scores_are_published_again_from_the_draws_that_were_logged(root):
    score_users.run(root, START)
    assert verify(root).findings == []
    before, drawn = rows(root, "scores"), versions(root)
    next((root.warehouse / "scores").glob("*.parquet")).write_bytes(b"PAR1")
    assert {finding.table for finding in verify(root).findings} == {"scores"}
    assert rebuild.repair(root, ["scores"]).detail == f"{len(before)} rows of {START} published again"
    assert rows(root, "scores") == before and verify(root).findings == []
    assert versions(root) | {"scores": None} == drawn | {"scores": None}
    land(root, "impressions", "two", [impression(n, NEXT) for n in range(4)])
    build_features.run(root, NEXT)
    score_users.run(root, NEXT)
    assert len(rows(root, "scores")) > len(before) and verify(root).findings == []


@pytest.fixture
def staged(grown, save_release):
    """Decides on releases beside the first."""

    def decide(number, stage, hour, since, lineage, production="r000001"):
        versions = {"encoder": "1", "ranker": str(number), "policy": str(number)}
        name = f"r{number:06d}"
        row = ReleaseRow(name, hour, versions, "trial", stage, "test", since, end_of(hour), lineage, compared_with=production)
        save_release(release_folder(grown, name), text_dim=384, encoder_version=encoder_spec(grown).version, seed=number)
        append_decision(grown, row, production)

    return decide


def drawn_by(settings):
    return {row["user_id"]: (row["arm"], row["release_id"], row["versions"]["ranker"]) for row in rows(settings, "scores")}


def test_users_are_shared_by_the_arms_and_a_rerun_draws_with_the_challenger_that_was_frozen(grown, staged, monkeypatch):
    staged(2, "staging", START, NEXT, "trial-x")
    outcome = score_users.run(grown, NEXT)
    assert "r000001 for 50.0% of the users (production), r000002 for 50.0% of the users (challenger)" in outcome.detail
    found = drawn_by(grown)
    production, challenger = ("production", "r000001", "1"), ("challenger", "r000002", "2")
    assert found[DEFAULT_USER] == production and set(found.values()) == {production, challenger}
    assert min(list(found.values()).count(arm) for arm in (production, challenger)) >= 10
    shares = {(row["arm"], row["arm_share"], row["release_id"]) for row in rows(grown, "slate_decisions") if row["hour"] == NEXT}
    assert shares == {("production", 0.5, "r000001"), ("challenger", 0.5, "r000002")}
    first = rows(grown, "scores")
    staged(3, "rejected", START, NEXT, "trial-x")
    monkeypatch.setattr(step, "code_version", lambda: "other")
    assert score_users.run(grown, NEXT).status == "done" and rows(grown, "scores") == first
    assert not verify(grown).findings


def overflow(settings, release_id):
    """Weights that are numbers, and logits that are none."""
    folder = release_folder(settings, release_id) / "ranker"
    ranker = load_ranker(folder)
    with torch.no_grad():
        for weight in ranker.parameters():
            weight.mul_(1e30)
    save_ranker(ranker, folder)


def test_a_challenger_that_cannot_draw_is_left_out_and_rejected_and_the_hour_is_scored(grown, staged, monkeypatch):
    staged(2, "staging", START, NEXT, "trial-x")
    overflow(grown, "r000002")
    outcome = score_users.run(grown, NEXT)
    assert "by r000001; r000002 (challenger) was stopped: r000002 cannot draw: ValueError: " in outcome.detail
    assert set(drawn_by(grown).values()) == {("production", "r000001", "1")}
    ended = all_releases(grown)[-1]
    assert (ended.stage, ended.lineage, ended.decided_by) == ("rejected", "trial-x", "score_users, hard stop")
    assert ended.reasons[0].startswith("r000002 cannot draw: ") and challenger_before(grown) is None
    first, before = rows(grown, "scores"), all_releases(grown)
    monkeypatch.setattr(step, "code_version", lambda: "other")
    assert score_users.run(grown, NEXT).status == "done" and rows(grown, "scores") == first and all_releases(grown) == before
    assert not verify(grown).findings


def test_where_no_release_can_draw_the_scores_stay_as_they_are(grown, staged):
    scores = rows(grown, "scores")
    overflow(grown, "r000001")
    with pytest.raises(UserError, match=r"r000001 cannot draw: .*; r000001 holds the models of the first release"):
        score_users.run(grown, NEXT)
    assert rows(grown, "scores") == scores and len(all_releases(grown)) == 1
    staged(2, "production", START, NEXT, "trial-x")
    overflow(grown, "r000002")
    with pytest.raises(UserError, match=r"no release can draw: r000001 .*; r000002 .*; mend what they read"):
        score_users.run(grown, NEXT)
    assert rows(grown, "scores") == scores and len(all_releases(grown)) == 2


def test_a_production_that_cannot_draw_is_taken_out(grown, staged, monkeypatch):
    staged(2, "production", START, NEXT, "trial-x")
    overflow(grown, "r000002")
    outcome = score_users.run(grown, NEXT)
    assert {arm[1] for arm in drawn_by(grown).values()} == {"r000001"} and "r000002 (production) was stopped" in outcome.detail
    back = newest_production(grown)
    assert (back.release_id, back.kind, back.decided_by) == ("r000003", "rollback", "score_users, hard stop")
    assert back.versions["ranker"] == "1" and back.reasons[0].endswith("(back to r000001)")
    monkeypatch.setattr(step, "code_version", lambda: "other")
    assert score_users.run(grown, NEXT).status == "done" and len(all_releases(grown)) == 3, "a rerun moves nothing"
    assert score_users.run(grown, NEXT).status == "unchanged" and not verify(grown).findings


def test_what_was_displaced_keeps_its_share_and_a_roll_back_shows_its_slates_again_to_whoever_polls(grown, staged):
    before = {row["user_id"]: row["slate_id"] for row in rows(grown, "scores")}
    staged(2, "production", START, NEXT, "trial-x")
    score_users.run(grown, NEXT)
    found = drawn_by(grown)
    assert {arm[:2] for arm in found.values()} <= {("production", "r000002"), ("predecessor", "r000001")}
    assert ("production", 0.95) in {(row["arm"], row["arm_share"]) for row in rows(grown, "slate_decisions") if row["hour"] == NEXT}
    seen, stop = set(), threading.Event()

    def poll():
        while not stop.is_set():
            table = read_table(grown, "scores", columns=["user_id", "release_id"])
            seen.add((frozenset(table["user_id"].to_pylist()), frozenset(table["release_id"].to_pylist())))

    cut_off = moves.roll_back(grown, "clicks fell")  # the row stands, and the scores are still those of what was taken out
    consumer = threading.Thread(target=poll)
    consumer.start()
    try:
        back = roll_back.run(grown, "clicks fell")
    finally:
        stop.set()
        consumer.join()
    assert back.release_id == cut_off.release_id == "r000003", "the next try ends what was cut off"
    assert back.reasons[1].startswith("aliases follow with the next hour's decision, since MLflow"), "none runs here"
    again = rows(grown, "scores")
    assert {row["release_id"] for row in again} == {"r000001"}
    displaced = {user: slate for user, slate in before.items() if found[user][1] != "r000001"}
    assert {row["user_id"]: row["slate_id"] for row in again}.items() >= displaced.items(), "what they were shown before"
    old = (frozenset(found), frozenset(arm[1] for arm in found.values()))
    assert seen <= {old, (frozenset(row["user_id"] for row in again), frozenset({"r000001"}))}, "one table or the other, no mixture"
    assert not verify(grown).findings
    with pytest.raises(UserError, match="holds the models of the first release: there is nothing to go back to"):
        roll_back.run(grown, "again")

    staged(4, "production", START, NEXT, "trial-y", "r000003")
    by_guard = replace(all_releases(grown)[2], release_id="r000005", hour=NEXT, since=shift(NEXT, 1), decided_by="promote_models")
    shutil.copytree(release_folder(grown, "r000001"), release_folder(grown, by_guard.release_id))
    append_decision(grown, by_guard, "r000004")
    roll_back.finish(grown)
    attempts = ledger.rows(grown, score_users.REPUBLISH)
    assert (attempts[-1].status, attempts[-1].release_id) == ("done", "r000005"), "what the hour's decision took back is published anew"
    assert rows(grown, "scores") == again
    roll_back.finish(grown)
    assert ledger.rows(grown, score_users.REPUBLISH) == attempts, "once"
    build_features.run(grown, shift(NEXT, 1))
    score_users.run(grown, shift(NEXT, 1))
    assert {arm[1] for arm in drawn_by(grown).values()} == {"r000005"}, "from the next hour on it draws anew"


def feed(settings, since):
    """Changes of scores since a version, of every commit after it."""
    table = DeltaTable(str(settings.warehouse / "scores"))
    return [] if table.version() == since else pa.table(table.load_cdf(since + 1).read_all()).to_pylist()


def append(settings, table, frame):
    frame.write.format("delta").mode("append").save(str(settings.warehouse / table))
    return DeltaTable(str(settings.warehouse / table)).version()


def test_a_draw_that_breaks_a_promise_is_neither_logged_nor_published(grown, spark):
    """A user whose features are there twice is drawn twice: 20 rows a slate come of the join of two draws, at 10 positions."""
    before, at = rows(grown, "scores"), versions(grown)
    done = ledger.last_done(grown, "build_features", NEXT)
    features = read_frame(spark, grown, "user_features", done.outputs["user_features"])
    broken = append(grown, "user_features", features.where("user_id = 'u1'"))
    ledger.write_rows(grown, [replace(done, outputs=done.outputs | {"user_features": broken})])
    with pytest.raises(UserError, match=f"of {NEXT} are not published: 1 slates hold an item twice; 1 slates hold a position") as said:
        score_users.run(grown, NEXT)
    assert "\n" not in str(said.value) and "run this step again" in str(said.value)
    assert versions(grown) == at and rows(grown, "scores") == before, "those of before stay"
    (failed,) = [row for row in ledger.rows(grown, score_users.STEP, NEXT) if row.status == "failed"]
    assert failed.detail.startswith("UserError: scores of") and failed.outputs == {}
    ledger.write_rows(grown, [done])
    assert score_users.run(grown, NEXT).status == "done" and {row["hour"] for row in rows(grown, "scores")} == {NEXT}


def test_items_that_went_since_are_not_in_slates_that_are_published_again(grown, release):
    first = rows(grown, "scores")
    release(grown, 2, START, START)
    score_users.run(grown, NEXT)
    shown = [row["item_id"] for row in first if row["user_id"] == "u0"]
    off, blocked = shown[1], shown[4]
    later = shift(NEXT, 1)
    land(grown, "items", "later", [{"item_id": off, "title": "Gone", "available": False}])
    build_features.run(grown, later)
    (grown.home / "rules.yaml").write_text(f"block: {{items: [{blocked}]}}\n")
    ruled = grown.model_copy(update={"slates": grown.slates.model_copy(update={"rules": "rules.yaml"})})
    at = versions(grown)["scores"]
    roll_back.run(ruled, "clicks fell")
    again = rows(grown, "scores")
    wanted = {(row["user_id"], row["position"]): row["item_id"] for row in first if row["item_id"] not in (off, blocked)}
    assert {(row["user_id"], row["position"]): row["item_id"] for row in again} == wanted
    assert [row["position"] for row in again if row["user_id"] == "u0"] == [0, 2, 3, 5, 6, 7, 8, 9]
    log = {(row["slate_id"], row["position"]): (row["item_id"], row["propensity"]) for row in rows(grown, "slate_log")}
    assert all(log[row["slate_id"], row["position"]] == (row["item_id"], row["propensity"]) for row in again)
    assert not verify(grown).findings
    assert {row["_change_type"] for row in feed(grown, at)} == {"delete", "insert"}, "no row is as the hour of before drew it"
    rolled = versions(grown)["scores"]
    with writer_lock(grown, "spark"), attempt(ruled, score_users.REPUBLISH, [NEXT]) as current, spark_session(grown) as session:
        score_users.republish_releases(session, current, ["r000001"])
    assert versions(grown)["scores"] == rolled and feed(grown, rolled) == [], "published once more: nothing differs"
    assert not verify(grown).findings


def test_a_roll_back_to_slates_of_which_nothing_is_left_leaves_the_scores_as_they_are(grown, release):
    release(grown, 2, START, START)
    score_users.run(grown, NEXT)
    land(grown, "items", "later", [{"item_id": item, "title": "Gone", "available": False} for item in ITEMS])
    build_features.run(grown, shift(NEXT, 1))
    before, at = rows(grown, "scores"), versions(grown)
    with pytest.raises(UserError, match=f"1 surfaces have no slate of {DEFAULT_USER}; expected none of these in 0 rows"):
        roll_back.run(grown, "clicks fell")
    assert rows(grown, "scores") == before and versions(grown) == at and not verify(grown).findings
