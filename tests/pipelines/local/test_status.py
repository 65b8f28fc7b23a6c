"""How the root stands, from a ledger written by hand."""

import io
from dataclasses import asdict

import pytest
from rich.console import Console

from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.lake.holds import hold, lift
from pipelines.local.screen import print_status
from pipelines.local.status import read_status

START = "2026-11-10T08"
NEXT = shift(START, 1)


def score(user, position, hour):
    return {
        "user_id": user, "surface": "home", "position": position, "item_id": "a", "score": 0.5, "propensity": 0.1, "slate_id": "s",
        "arm": "production", "source": "policy", "release_id": "r000001", "versions": {"encoder": "e", "ranker": "1", "policy": "1"},
        "hour": hour, "generated_at": end_of(hour),
    }  # fmt: skip


@pytest.fixture
def root(make_root, ledger_row, write_table):
    """Scored at START; features went on by two hours; the second decision abstained; the last fine-tuning failed."""
    root = make_root()
    root.release(NEXT, "abstained", reasons=("policy value: 12 of 1000 needed",))
    write_table(root.settings, "scores", [score(user, at, START) for user in ("u1", "u2", "__default__") for at in (0, 1)])
    rows = [ledger_row("build_features", hour) for hour in (START, NEXT, shift(START, 2))]
    failed = ledger_row("finetune_ranker", shift(START, 2), status="failed", detail="ConnectionError: MLflow")
    ledger.write_rows(root.settings, [*rows, ledger_row("score_users", START), ledger_row("finetune_ranker", NEXT), failed])
    return root


def test_steps_have_their_newest_finished_hour_and_their_last_attempt(root):
    steps = {step.step: step for step in read_status(root.settings).steps}
    assert steps["build_features"].newest_hour == shift(START, 2)
    tuned = steps["finetune_ranker"]
    assert (tuned.newest_hour, tuned.last, tuned.last_hour, tuned.detail) == (NEXT, "failed", shift(START, 2), "ConnectionError: MLflow")
    assert steps["promote_models"].last is None


def test_scores_are_as_old_as_the_hours_that_passed_since(root):
    scores = read_status(root.settings).scores
    assert (scores.rows, scores.users, scores.hour, scores.staleness_h) == (6, 3, START, 2.0)


def test_an_abstained_decision_leaves_the_release_before_it_in_force(root):
    status = read_status(root.settings)
    assert (status.in_force.release_id, status.in_force.outcome) == ("r000001", "promoted")
    assert (status.decision.release_id, status.decision.outcome) == ("r000002", "abstained")
    assert asdict(status)["decision"]["reasons"] == ["policy value: 12 of 1000 needed"]


def test_what_is_held_is_there_with_its_reason_until_it_is_lifted(root):
    hold(root.settings, "poison", NEXT, "a click farm")
    assert read_status(root.settings).held == {"poison": {NEXT: "a click farm"}}
    console = Console(file=io.StringIO(), width=140)
    print_status(console, read_status(root.settings))
    assert f"held: poison {NEXT}, a click farm" in console.file.getvalue()
    lift(root.settings, "poison", NEXT)
    assert read_status(root.settings).held == {}


def test_the_screen_says_the_same(root):
    console = Console(file=io.StringIO(), width=140)
    print_status(console, read_status(root.settings))
    text = console.file.getvalue()
    for expected in ("failed 2026-11-10T10", "never ran", "6 rows of 3 users, hour 2026-11-10T08, 2 h old", "abstained: policy value"):
        assert expected in text
