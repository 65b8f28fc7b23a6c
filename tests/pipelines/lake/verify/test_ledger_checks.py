"""What the ledger says and the tables do not, and the other way round."""

import json

import pytest

from pipelines.hours import shift
from pipelines.local.verification import verify

FIRST, SECOND, THIRD, NEXT = "2026-11-10T08", "2026-11-10T09", "2026-11-10T10", "2026-11-10T11"


def test_the_ledger_names_a_version_that_was_never_committed(root):
    root.ledger("embed_items", [NEXT], outputs={"item_embeddings": 99})
    root.named("ledger", "item_embeddings", "version 99", "ends at version 1", f"embed_items {NEXT}")


def test_a_version_that_another_step_committed(root):
    def by_other(action):
        if "commitInfo" in action:
            action["commitInfo"]["userMetadata"] = json.dumps({"step": "score_users", "hours": f"{SECOND}..{THIRD}"})

    root.edit_commit(root.newest("user_hour"), by_other)
    root.named("ledger", "user_hour", "a commit of score_users", f"build_increments {SECOND}..{THIRD}")


def test_a_version_that_was_committed_for_another_hour(root):
    version = root.commit("item_embeddings", [{"item_id": "c"}], "embed_items", ["2026-11-12T05"])
    root.ledger("embed_items", [NEXT], outputs={"item_embeddings": version})
    root.named("ledger", "item_embeddings", "for 2026-11-12T05..2026-11-12T05", f"embed_items {NEXT}")


def test_a_commit_that_no_row_names_is_a_note_until_something_is_built_on_it(root):
    version = root.commit("user_hour", [{"user_id": "u", "hour": NEXT}], "build_increments", [NEXT])
    assert not verify(root.settings).findings
    assert root.notes() == [("user_hour", f"commits that no ledger row names, and nothing was built upon: versions {version}")]
    root.ledger("build_features", [NEXT], inputs={"user_hour": version})
    root.named("unacknowledged", "user_hour", f"version {version}", f"the input of build_features {NEXT}")
    assert root.notes() == []


def test_an_input_that_was_never_committed(root):
    root.ledger("build_features", [NEXT], inputs={"user_hour": 99})
    root.named("unacknowledged", "user_hour", "version 99", "ends at version 2")


def test_an_input_older_than_the_log_is_a_note(root):
    for number in (NEXT, shift(NEXT, 1)):
        root.ledger("build_features", [number], outputs={})
    root.table("user_hour").create_checkpoint()
    for path in root.commits("user_hour")[:-1]:
        path.unlink()
    assert not verify(root.settings).findings
    assert root.notes() == [("user_hour", "some hours read versions older than 2, the oldest that can still be read")]


def test_a_hole_in_the_hours(root):
    last = shift(NEXT, 1)
    for step in ("ingest", "build_increments"):
        root.ledger(step, [last])
    root.named("hours", "ledger", f"hours {NEXT}", "no finished ingest, build_increments", f"recloop hour H` for {NEXT}")


def test_rows_that_the_pass_took_and_the_tables_lack(root):
    root.change("feedback", lambda table: table.delete("event_id = 'f3'"))

    def acknowledged(action):
        if "commitInfo" in action:
            action["commitInfo"]["operation"] = "OPTIMIZE"

    root.edit_commit(root.newest("feedback"), acknowledged)
    root.named("rows", "impressions", f"hours {SECOND}..{THIRD}", "3 rows of impressions and feedback", "4, by the ledger row of ingest")


def test_an_item_that_was_sent_twice_explains_one_row_and_no_more(root):
    def taken(count):
        path = root.newest("feedback")
        root.ledger("ingest", [FIRST], rows_out=count, outputs={"feedback": int(path.stem)})
        return [finding.expected for finding in verify(root.settings).findings if finding.check == "rows"]

    assert taken(4) == [] and taken(5) == []
    assert taken(3) == ["0 to 1, by the ledger row of ingest"] and taken(6) == ["3 to 4, by the ledger row of ingest"]


@pytest.mark.parametrize(("table", "step", "figure"), [
    ("training_examples", "build_examples", "rows_out"), ("scores", "score_users", "rows_out"), ("quarantine", "ingest", "rows_refused"),
])  # fmt: skip
def test_other_figures_of_the_ledger(root, table, step, figure):
    outputs = {table: root.version(table)}
    root.ledger(step, [THIRD], outputs=outputs, **{figure: 7})
    root.named("rows", table, THIRD, "7, by")
