"""Killed at any boundary of any step and run again, an hour leaves the tables of an undisturbed one (faults 1 to 4 and 15)."""

import time

import pytest

from pipelines.lake import ledger
from pipelines.settings import load_settings
from tests.faults.small_loop import HOURS, SIGKILLED, STEPS, differing, finish_step, run_step, said, start_step

DATA = ("ingest", "build_increments", "build_examples", "embed_items", "build_features")
COMMITS = (
    "ingest:commit:impressions", "ingest:commit:feedback", "build_increments:commit:user_hour", "build_increments:commit:item_hour",
    "build_examples:commit:training_examples", "build_features:commit:user_features", "build_features:commit:item_features",
)  # fmt: skip
BOUNDARIES = {  # nothing is written between the end of a step of the data half and the start of the next
    "build_features": (
        "ingest:before_frozen", "ingest:after_frozen", *COMMITS,
        "ingest:start", *(f"{name}:{where}" for name in DATA for where in ("before_done", "after_done")),
    ),
    "score_users": (
        "score_users:start", "score_users:before_frozen", "score_users:after_frozen", "score_users:commit:slate_decisions",
        "score_users:commit:slate_log", "score_users:commit:scores", "score_users:before_done", "score_users:after_done",
    ),
    "finetune_ranker": (
        "finetune_ranker:start", "register:ranker", "alias:ranker", "finetune_ranker:before_done", "finetune_ranker:after_done",
    ),
    "refresh_policy": (
        "refresh_policy:start", "register:policy", "alias:policy", "refresh_policy:before_done", "refresh_policy:after_done",
    ),
    "promote_models": (
        "promote_models:start", "promote_models:row", "promote_models:before_done", "promote_models:after_done",
    ),
}  # fmt: skip
ALL = [(step, boundary) for step in STEPS for boundary in BOUNDARIES[step]]


def kill_and_run_again(settings, step, boundary):
    killed = run_step(settings.home, step, HOURS[-1], boundary)
    assert killed.returncode == SIGKILLED, f"{boundary} was never reached: {killed.stdout}"
    return finish_step(settings.home, step, HOURS[-1])


@pytest.mark.faults
@pytest.mark.parametrize(("step", "boundary"), ALL, ids=[boundary for _, boundary in ALL])
def test_a_step_killed_at_a_boundary_and_run_again_is_an_undisturbed_one(root_before, staged, step, boundary):
    settings = root_before(step)
    outcome = kill_and_run_again(settings, step, boundary)
    assert differing(said(settings), said(load_settings(staged.after[step], {}))) == []
    done = [row for row in ledger.rows(settings, step, HOURS[-1]) if row.status == "done"]
    assert len(done) == 1
    assert outcome.startswith("unchanged" if boundary == f"{step}:after_done" else "done"), outcome


@pytest.mark.faults
@pytest.mark.parametrize("step", STEPS)
def test_a_finished_step_run_again_says_unchanged_and_changes_nothing(root_after, step):
    after = root_after(step)
    before = said(after)
    assert finish_step(after.home, step, HOURS[-1]).startswith("unchanged")
    assert differing(said(after), before) == []


@pytest.mark.faults
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_runs_twice_at_once_is_done_once(root_before, staged, step):
    settings = root_before(step)
    both = [start_step(settings.home, step, HOURS[-1]) for _ in range(2)]
    said_by = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], said_by
    outcomes = sorted(out.strip().splitlines()[-1].split(":")[0] for out, _ in said_by)
    assert outcomes == ["done", "unchanged"]
    assert differing(said(settings), said(load_settings(staged.after[step], {}))) == []


@pytest.mark.faults
def test_a_step_that_is_told_to_end_in_a_write_ends_within_seconds_and_is_made_good(root_before, staged):
    settings = root_before(STEPS[0])
    running = start_step(settings.home, STEPS[0], HOURS[-1])
    while not any(row.step == "build_increments" for row in ledger.rows(settings, hour=HOURS[-1])):
        assert running.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    running.terminate()
    began = time.monotonic()
    running.communicate(timeout=60)
    assert running.returncode != 0 and time.monotonic() - began < 10
    finish_step(settings.home, STEPS[0], HOURS[-1])
    assert differing(said(settings), said(load_settings(staged.after[STEPS[0]], {}))) == []
