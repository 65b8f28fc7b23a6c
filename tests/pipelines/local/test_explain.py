"""A row's causes on a root that was drawn by the executor's own code: by hand, or in rankers that read one thing alone."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from deltalake import DeltaTable
from rich.console import Console

from models.artifacts import load_ranker, save_ranker
from pipelines.errors import UserError
from pipelines.hours import end_of, hour_range, shift
from pipelines.lake import ledger
from pipelines.lake.tables import read_table, table_path, table_version
from pipelines.local.explanation.drawn import Row, explain_draw
from pipelines.local.explanation.explain import EVENTS, explain
from pipelines.local.explanation.lineage import NOT_RECORDED, learned, read_release
from pipelines.local.explanation.page import render
from pipelines.local.explanation.screen import print_explanation
from pipelines.registry.gates import Figure
from pipelines.registry.releases import release_folder
from spark_jobs.catalogue import build_catalogue, current_rows

START = "2026-11-10T08"
VERSIONS = {"items": 1, "item_embeddings": 0, "item_features": 0, "user_features": 0}


@pytest.fixture
def root(make_root, write_table):
    """Six users with features of START and items of the last days; not scored yet."""
    made = make_root(users=6)
    items = read_table(made.settings, "items").to_pylist()
    dates = [end_of(START) - timedelta(hours=1 + number / 2) for number in range(len(items))]
    write_table(made.settings, "items", [item | {"published_at": date} for item, date in zip(items, dates, strict=True)])
    made.features(START, seed=1)
    write_table(made.settings, "feedback", [])
    return made


@pytest.fixture
def user(root):
    return root.users[0]


def read_one(root, change):
    """Replaces the release's ranker: its weights are zeros but for what ``change`` sets."""
    folder = release_folder(root.settings, "r000001") / "ranker"
    ranker = load_ranker(folder)
    with torch.no_grad():
        for weight in (ranker.skip.weight, ranker.skip.bias, ranker.heads.weight, ranker.rate_gain, ranker.tower_bias):
            weight.zero_()
        change(ranker)
    save_ranker(ranker, folder)
    return ranker


def weigh(column, weight=1.0):
    """Every task's logit is the weight times this input."""

    def change(ranker):
        ranker.skip.weight[:, ranker.input_columns()["skip.weight"].index(column)] = weight

    return change


def decision_of(root, user):
    (decision,) = read_table(root.settings, "slate_decisions", where=pc.field("user_id") == user).to_pylist()
    return decision


def test_the_draw_is_as_it_was_logged(root, user):
    root.score(START, logged=True)
    log = read_table(root.settings, "slate_log", where=pc.field("user_id") == user).sort_by("position").to_pylist()
    decision, found = decision_of(root, user), explain(root.settings, user, log[2]["item_id"])
    assert (found.draw.position, found.draw.propensity, found.score.expected_reward) == (2, log[2]["propensity"], log[2]["score"])
    weight = np.exp(decision["logits"])
    taken = weight[decision["action"]]
    by_hand = [taken[0] / weight.sum(), taken[1] / (weight.sum() - taken[0]), taken[2] / (weight.sum() - taken[0] - taken[1])]
    assert found.draw.propensity == pytest.approx(by_hand[2], rel=1e-9)
    assert found.draw.prefix_probability == pytest.approx(math.prod(by_hand), rel=1e-9)
    assert found.draw.first_probability == pytest.approx(taken[2] / weight.sum(), rel=1e-9)
    assert found.draw.rank == 1 + sum(weight > taken[2]) and found.draw.propensity_error < 1e-12
    assert [row.item_id for row in found.draw.slate] == [row["item_id"] for row in log]
    assert found.score.recomputed_error < 1e-5 and found.score.note == ""


def test_limits_that_bound_the_draw_bind_its_probabilities():
    """Weights 4, 3, 2, 1; the first two are of one category, of which a slate holds one; then with the last one pinned on top."""
    scored = {"position": 1, "hour": START, "slate_id": "s", "surface": "home", "source": "policy", "reason": None, "item_id": "c"}
    decision = {
        "candidates": list("abcd"), "logits": np.log([4, 3, 2, 1]).tolist(), "action": [0, 2, 3],
        "candidate_features": [0.1, 0.3, 0.4, 0.2], "categories": [0, 0, 1, -1], "category_cap": 1, "pinned": None,
        "offsets": [0, 0, 0.5, 0], "arm": "production", "arm_share": 1.0, "release_id": "r", "versions": {}, "feature_versions": [],
        "rules": "r", "seed": 7, "temperature": 1.0,
    }  # fmt: skip
    log = [{"position": k, "item_id": "acd"[k], "score": 0.1, "propensity": p} for k, p in enumerate((0.4, 2 / 3, 1.0))]
    found = explain_draw(Row(scored, decision, log), {})
    assert found.propensity_error < 1e-12 and found.prefix_probability == pytest.approx(0.4 * 2 / 3)
    assert (found.rank, found.rank_by_score, found.rule_offset, found.pinned) == (3, 1, 0.5, False)
    log[2]["propensity"] = 0.9
    assert explain_draw(Row(scored, decision, log), {}).propensity_error == pytest.approx(0.1)
    on_top = decision | {"action": [3, 2, 0], "pinned": [3, -1, -1, -1]}
    log = [{"position": k, "item_id": "dca"[k], "score": 0.1, "propensity": p} for k, p in enumerate((1.0, 2 / 9, 4 / 7))]
    found = explain_draw(Row(scored | {"position": 0}, on_top, log), {})
    assert found.pinned and found.propensity == 1.0 and found.propensity_error < 1e-12


HISTORY, USER, ITEM, AGE = "what the history is about", "user counters", "item counters", "item age"
TEXT, TAGS, TOGETHER = "text and image of the item", "tags in common with the history", "liked together with the history"


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        ("item reward_24h", [ITEM]), ("item age_h", [AGE]), ("pair tag_affinity", [TAGS]), ("text 0", [TEXT]),
        ("user clicks_24h", [USER]), ("to the mean", [TEXT, HISTORY]),
    ],
)  # fmt: skip
def test_what_the_ranker_reads_comes_first_and_what_it_ignores_changes_nothing(root, user, column, groups):
    read_one(root, weigh(column, 0.3))
    root.score(START, logged=True)
    found = explain(root.settings, user).score
    effects = {one.group: one.effect for one in found.groups}
    assert {group for group, effect in effects.items() if effect.log_odds or effect.first_task} == set(groups)
    if column != "user clicks_24h":
        assert found.groups[0].group in groups
    else:
        assert effects[USER].first_task != 0 and abs(effects[USER].lead) < 1e-5  # every candidate moves alike


def test_the_effect_of_a_group_is_the_distance_to_the_other_candidates_one_by_one(root, user):
    """A logit that is the age in the ranker's scale: what it loses is its own less the others' mean."""
    ranker = read_one(root, weigh("item age_h", 0.3))
    root.score(START, logged=True)
    found, candidates = explain(root.settings, user), decision_of(root, user)["candidates"]
    published = dict(zip(*(read_table(root.settings, "items")[name].to_pylist() for name in ("item_id", "published_at")), strict=True))
    age_h = np.array([(end_of(START) - published[item]).total_seconds() / 3600 for item in candidates])
    numbers = torch.zeros(len(candidates), len(ranker.config.item_counters) + 1)
    numbers[:, -1] = torch.from_numpy(age_h)
    logits = 0.3 * ranker.item_numbers(numbers)[:, -1].numpy()
    place = candidates.index(found.item_id)
    (effect,) = [one for one in found.score.groups if one.group == AGE]
    assert abs(effect.effect.first_task) > 0.01
    assert effect.effect.first_task == pytest.approx(logits[place] - np.delete(logits, place).mean(), abs=1e-5)
    (told,) = effect.values
    assert (told.own, told.others) == pytest.approx((age_h[place], np.delete(age_h, place).mean()), rel=1e-5)


def test_the_event_without_which_the_score_falls_is_named(root, user, write_table):
    """Of a ranker that reads the similarity to the nearest item of the history, only that one's removal moves anything."""
    ranker = read_one(root, weigh("to the nearest"))
    root.score(START, logged=True)
    item = explain(root.settings, user).item_id
    (state,) = read_table(root.settings, "user_features", where=pc.field("user_id") == user).to_pylist()
    catalogue = build_catalogue(current_rows(read_table(root.settings, "items")), read_table(root.settings, "item_embeddings"), "made-up")
    content = dict(zip(catalogue.ids.to_pylist(), ranker.content(catalogue.table)[1:].detach().numpy(), strict=True))
    similar = sorted(((float(content[item] @ content[entry["item_id"]]), entry) for entry in state["recent"]), key=lambda pair: -pair[0])
    (best, nearest), (second, _) = similar[:2]
    later = {"event_id": "late", "type": "hide", "ts": nearest["ts"] + timedelta(hours=3), "hour": shift(START, 1)}
    rows = [{"event_id": nearest["event_id"], "type": "watch", "value": 600.0, "ts": nearest["ts"], "hour": START}, later]
    other = {"event_id": "x", "type": "like", "ts": nearest["ts"], "hour": START, "user_id": root.users[1], "item_id": nearest["item_id"]}
    write_table(root.settings, "feedback", [row | {"user_id": user, "item_id": nearest["item_id"]} for row in rows] + [other])
    events = explain(root.settings, user).score.events
    assert (events[0].item_id, events[0].event_id, events[0].ts) == (nearest["item_id"], nearest["event_id"], nearest["ts"])
    assert events[0].effect.first_task == pytest.approx(best - second, abs=1e-5)
    assert [event.effect.first_task for event in events[1:]] == [0.0] * (EVENTS - 1)
    assert [(one.type, one.value) for one in events[0].reactions] == [("watch", 600.0)]


def test_versions_are_those_that_the_decision_pinned(root, user, write_table):
    root.score(START, logged=True)
    before = explain(root.settings, user)
    root.features(shift(START, 1), seed=2)
    items = read_table(root.settings, "items").to_pylist()
    write_table(root.settings, "items", [item | {"title": "another title", "published_at": end_of(START)} for item in items])
    after = explain(root.settings, user)
    assert after == before
    assert after.draw.feature_versions == after.scoring.inputs == VERSIONS
    assert {name: table_version(root.settings, name) for name in VERSIONS} == VERSIONS | {
        "items": 2, "item_features": 1, "user_features": 1,
    }  # fmt: skip


def test_another_score_than_the_logged_one_is_said_and_nothing_is_guessed(root, user):
    root.score(START, logged=True)
    read_one(root, weigh("item reward_24h"))
    score = explain(root.settings, user).score
    assert "differ from the logged ones" in score.note and score.recomputed_error > 1e-4
    assert (score.groups, score.events, score.probabilities) == ((), (), {})


def test_the_default_slate_has_no_events(root):
    root.score(START, logged=True)
    found = explain(root.settings, "__default__")
    assert found.draw.source == "fallback" and found.score.history == 0 and found.score.events == []
    assert {one.group: one.effect.log_odds for one in found.score.groups}[HISTORY] == 0.0
    assert "There is no history" in render(found) and "mattered most" not in render(found)


def test_what_cannot_be_explained_is_one_line(root, user):
    with pytest.raises(UserError, match="table scores does not exist"):
        explain(root.settings, user)
    root.score(START, logged=True)
    with pytest.raises(UserError, match=r"'nobody' has no scored rows.*recloop explain __default__"):
        explain(root.settings, "nobody")
    first, second = (row.item_id for row in explain(root.settings, user).draw.slate[:2])
    with pytest.raises(UserError, match=f"'no such item' is not in the slate of user '{user}', which holds {first}, {second}"):
        explain(root.settings, user, "no such item")


def test_a_draw_that_is_gone_and_a_release_that_is_gone(root, user, write_table):
    root.score(START, logged=True)
    write_table(root.settings, "slate_decisions", [])
    with pytest.raises(UserError, match="slate_decisions holds nothing of slate"):
        explain(root.settings, user)
    root.score(START, logged=True)
    shutil.rmtree(release_folder(root.settings, "r000001"))
    with pytest.raises(UserError, match=r"release r000001, ranker: no config\.json"):
        explain(root.settings, user)


def test_versions_whose_files_were_vacuumed(root, user):
    root.score(START, logged=True)
    root.features(shift(START, 1), seed=2)
    table = DeltaTable(str(table_path(root.settings, "user_features")))
    assert table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(UserError, match=r"item_features 0, items 1, user_features 0.* cannot be read any more"):
        explain(root.settings, user)


def finetuned(root, ledger_row, first, last, minutes, detail, began_from=None):
    """The rows of one attempt, which ended so many minutes after its last hour; ``began_from``: an hour is its candidate."""
    at = end_of(last) + timedelta(minutes=minutes)
    base = f"the candidate of {began_from}" if began_from and began_from[:2] == "20" else began_from
    times = {"started_at": at, "ended_at": at + timedelta(seconds=9)}
    ledger.write_rows(
        root.settings,
        [ledger_row("finetune_ranker", hour, detail=detail, began_from=base, **times) for hour in hour_range(first, last)],
    )


def decided(root, ledger_row, hour, minutes, stage="production", **values):
    release_id, at = root.release(hour, stage, **values), end_of(hour) + timedelta(minutes=minutes)
    row = ledger_row("promote_models", hour, started_at=at, ended_at=at + timedelta(seconds=9), release_id=release_id)
    ledger.write_rows(root.settings, [row])
    return release_id


def passes_of(root, release_id):
    ranker, _ = learned(root.settings, read_release(root.settings, release_id))
    return [(one.first_hour, one.last_hour, one.hours, one.detail) for one in ranker.passes], ranker


def test_what_a_ranker_learned_are_the_attempts_that_its_release_was_decided_on_and_what_they_went_on_from(make_root, ledger_row):
    """The first load; three hours at once; an hour that nothing went on from; one that was learned again after its decision."""
    root = make_root(users=1)
    root.release(START)
    h = [shift(START, number) for number in range(7)]
    finetuned(root, ledger_row, h[1], h[1], 1, "load", "the first load")
    decided(root, ledger_row, h[1], 2)
    finetuned(root, ledger_row, h[2], h[4], 1, "three", h[1])
    decided(root, ledger_row, h[4], 2, stage="abstained")
    finetuned(root, ledger_row, h[5], h[5], 1, "worse", h[4])
    decided(root, ledger_row, h[5], 2, stage="rejected", gates=(Figure("AUC per user", "fail", -0.02, -0.03, -0.01, -0.003, 5000),))
    finetuned(root, ledger_row, h[6], h[6], 1, "newest", h[4])
    newest = decided(root, ledger_row, h[6], 2)
    finetuned(root, ledger_row, h[6], h[6], 3, "again", h[4])
    found, ranker = passes_of(root, newest)
    assert found == [(h[6], h[6], 1, "newest"), (h[2], h[4], 3, "three"), (h[1], h[1], 1, "load")]
    assert (ranker.start, ranker.released, ranker.beside) == ("the first load", newest, None)


def test_a_way_back_holds_what_was_learned_then_and_the_next_hour_says_what_it_began_from(make_root, ledger_row):
    root = make_root(users=1)
    h = [shift(START, number) for number in range(1, 4)]
    finetuned(root, ledger_row, h[0], h[0], 1, "load", "the first load")
    first = decided(root, ledger_row, h[0], 2)
    finetuned(root, ledger_row, h[1], h[1], 1, "second", h[0])
    decided(root, ledger_row, h[1], 2)
    versions = read_release(root.settings, first).versions
    back = root.release(h[1], kind="rollback", decided_by="recloop rollback, ann", versions=versions)
    finetuned(root, ledger_row, h[2], h[2], 1, "third", f"the weights of production {back}")
    third = decided(root, ledger_row, h[2], 2)
    found, ranker = passes_of(root, third)
    assert [detail for *_, detail in found] == ["third"] and ranker.start == f"the weights of production {back}"
    found, ranker = passes_of(root, back)
    assert [detail for *_, detail in found] == ["load"] and ranker.released == first


def test_what_the_ledger_does_not_hold_is_said(make_root, ledger_row):
    root = make_root(users=1)
    h = [shift(START, number) for number in range(1, 4)]
    for number, began_from in ((1, None), (2, h[0])):
        finetuned(root, ledger_row, h[number], h[number], 1, "pass", began_from)
        newest = decided(root, ledger_row, h[number], 2)
        _, ranker = passes_of(root, newest)
        assert ranker.start == {1: NOT_RECORDED, 2: f"the candidate of {h[0]}, whose attempt the ledger does not hold"}[number]


def test_a_model_that_no_fine_tuning_made(make_root):
    root = make_root(users=1)
    found, ranker = passes_of(root, "r000001")
    assert found == [] and ranker.start == f"not by finetune_ranker: promote_models of {START}"


def test_the_page_and_the_screen_say_the_same_and_escape_what_they_show(root, user, write_table):
    items = read_table(root.settings, "items").to_pylist()
    write_table(root.settings, "items", [item | {"title": f"<b>[red]{item['item_id']}"} for item in items])
    root.score(START, logged=True)
    found = explain(root.settings, user)
    screen = StringIO()
    print_explanation(Console(file=screen, width=240), found)
    page = render(found)
    assert f"<b>[red]{found.item_id} ({found.item_id}) at position 1 for {user}" in screen.getvalue()
    assert f"&lt;b&gt;[red]{found.item_id}" in page and f"<b>[red]{found.item_id}" not in page
    assert not [word for word in ("http://", "https://", "<script", " src=", "{{") if word in page]
    event = found.score.events[0]
    numbers = (f"{found.draw.propensity:.4f}", f"{event.effect.log_odds:+.3f}", f"{event.ts:%Y-%m-%d %H:%M}")
    for text in (*numbers, "not in feedback", "r000001"):
        assert text in page and text in screen.getvalue()
    note = replace(found, score=replace(found.score, note="differs <b>", groups=(), events=()))
    assert "differs &lt;b&gt;" in render(note) and "mattered most" not in render(note)


def test_the_command_writes_json_and_a_page(root, user):
    root.score(START, logged=True)
    page = root.settings.home / "why.html"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[3]), "RECLOOP_HOME": str(root.settings.home)}
    command = [sys.executable, "-m", "pipelines.cli", "explain", user, "--json", "--html", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=root.settings.home, check=False)
    assert done.returncode == 0, done.stderr
    found, expected = json.loads(done.stdout), explain(root.settings, user)
    assert (found["item_id"], found["draw"]["propensity"]) == (expected.item_id, expected.draw.propensity)
    assert page.read_text() == render(expected)
