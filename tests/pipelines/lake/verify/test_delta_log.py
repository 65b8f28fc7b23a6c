"""Damage to a log: each kind is done to a sound root, and exactly it is named."""

import shutil

import pytest

from pipelines.local.verification import verify

FIRST, SECOND, THIRD = "2026-11-10T08", "2026-11-10T09", "2026-11-10T10"


def test_an_empty_newest_commit(root):
    path = root.newest("slate_log")
    path.write_bytes(b"")
    finding = root.named("commit", "slate_log", f"version {int(path.stem)}", "0 bytes", f"score_users {THIRD}")
    assert "without one is lost: those slates" in finding.advice


def test_an_empty_newest_commit_of_a_derived_table_can_be_recomputed(root):
    root.newest("user_features").write_bytes(b"")
    assert "recloop rebuild" in root.named("commit", "user_features", f"build_features {SECOND}..{THIRD}").advice


def test_a_torn_commit(root):
    path = root.newest("impressions")
    path.write_bytes(path.read_bytes()[:-25])
    root.named("commit", "impressions", "line 3 of 3 is not JSON" if path.read_text().count("\n") == 2 else "is not JSON")


def test_a_commit_without_its_commit_info(root):
    path = root.newest("items")
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "commitInfo" not in line))
    root.named("commit", "items", "no commitInfo")


def test_a_commit_that_is_gone_from_the_middle(root):
    root.commits("user_hour")[1].unlink()
    root.named("gap", "user_hour", "versions 1 (build_increments", "every version up to 2")


def test_what_lies_before_a_checkpoint_leaves_the_newest_version_to_be_checked(root):
    root.table("user_hour").create_checkpoint()
    root.commits("user_hour")[0].write_bytes(b"")
    root.commits("user_hour")[1].unlink()
    root.data_files("user_hour")[0].unlink()
    findings = verify(root.settings).findings
    assert [finding.check for finding in findings] == ["commit", "gap", "file"]
    assert all("which a later checkpoint holds" in finding.advice for finding in findings[:2])


def test_the_newest_commit_gone_is_told_by_the_ledger(root):
    root.newest("training_examples").unlink()
    root.named("ledger", "training_examples", "version 2", "ends at version 1", f"build_examples {SECOND}..{THIRD}")


def test_the_newest_commit_of_the_ledger_itself_gone_leaves_a_note(root):
    root.newest("ledger").unlink()
    result = verify(root.settings)
    assert not result.findings
    assert {note.table for note in result.notes} == {"slate_decisions", "slate_log", "scores"}


def test_a_broken_checkpoint(root):
    root.table("item_hour").create_checkpoint()
    (path,) = (root.folder("item_hour") / "_delta_log").glob("*.checkpoint.parquet")
    path.write_bytes(path.read_bytes()[:-40])
    root.named("checkpoint", "item_hour", "version 2", "remove this checkpoint and _last_checkpoint")


@pytest.mark.parametrize(("text", "said"), [("{", "not the JSON"), ('{"version": 7, "size": 1}', "version 7, which has no checkpoint")])
def test_a_broken_last_checkpoint(root, text, said):
    (root.folder("item_hour") / "_delta_log" / "_last_checkpoint").write_text(text)
    root.named("checkpoint", "item_hour", "_last_checkpoint", said, "remove _last_checkpoint")


def test_an_empty_log(root):
    for path in (root.folder("item_hour") / "_delta_log").iterdir():
        path.unlink()
    root.named("gap", "item_hour", "version 0", "an empty log")


def test_the_whole_ledger_gone(root):
    shutil.rmtree(root.folder("ledger"))
    root.named("table", "ledger", "no such table", "which versions those hours read and wrote")


def test_a_whole_table_gone(root):
    shutil.rmtree(root.folder("item_embeddings"))
    root.named("table", "item_embeddings", "no such table", f"embed_items {FIRST}..{THIRD}")
