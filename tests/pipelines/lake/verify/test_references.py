"""Rows that name what is not there: slates, releases, landing files."""


import pytest

from pipelines.hours import shift
from pipelines.local.verification import verify

FIRST, SECOND, THIRD, NEXT = "2026-11-10T08", "2026-11-10T09", "2026-11-10T10", "2026-11-10T11"


def test_a_slate_that_is_served_and_was_not_logged(root):
    root.change("slate_log", lambda table: table.delete("slate_id = 's2' AND position = 1"))
    root.named("slate", "slate_log", "no row for 1 of scores: slate_id s2 position 1")


@pytest.mark.parametrize("change", [{"item_id": "'z'"}, {"propensity": "0.25"}])
def test_a_served_row_that_is_not_as_it_was_logged(root, change):
    root.change("scores", lambda table: table.update(change, predicate="position = 0"))
    root.named("slate", "scores", "1 rows that are not as they were logged")


def test_a_logged_slate_without_its_decision(root):
    root.change("slate_decisions", lambda table: table.delete("slate_id = 's1'"))
    root.named("slate", "slate_decisions", f"hour {FIRST}", "no decision for 1 slates of slate_log: s1")


def test_slates_of_others_are_a_note(root):
    root.commit("impressions", [{"event_id": "e9", "slate_id": "mine", "hour": NEXT}], "ingest", [NEXT])
    assert not verify(root.settings).findings
    assert ("impressions", "1 shown positions are of slates that slate_log does not hold: left out of policy work") in root.notes()


def test_a_release_that_no_row_describes(root):
    root.table("releases").delete("release_id = 'r000001'")
    finding = verify(root.settings).findings
    assert {(f.check, f.table, f.where, f.found) for f in finding} == {("release", "releases", "release r000001", "no row")}


@pytest.mark.parametrize(("name", "damage", "said"), [
    ("model.safetensors", lambda path: path.unlink(), "no model.safetensors"),
    ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, "),
    ("model.safetensors", lambda path: path.write_bytes(b"\xff" * 30), "no readable header"),
    ("config.json", lambda path: path.unlink(), "no config.json"),
    ("config.json", lambda path: path.write_text("{"), "config.json is not JSON"),
])  # fmt: skip
def test_a_release_that_scoring_cannot_load(root, name, damage, said):
    damage(root.settings.releases / "r000001" / "policy" / name)
    root.named("release", "releases", "release r000001, policy", said, "policy version 1 out of MLflow")


def test_a_landing_file_that_changed(root):
    path = root.settings.landing / "feedback/done.jsonl"
    path.write_bytes(b"[]\n")
    root.named("landing", "feedback", f"hour {SECOND}, file feedback/done.jsonl", "3 bytes, other content")


def test_a_landing_file_is_missed_until_its_retention_ends(root):
    (root.settings.landing / "feedback/done.jsonl").unlink()
    root.named("landing", "feedback", "feedback/done.jsonl: found missing")
    later = shift(THIRD, 31 * 24)
    root.ledger("score_users", [later])
    assert not verify(root.settings).findings
    assert root.notes() == [("ledger", "1 landing files are gone that were taken more than 30 days ago")]
