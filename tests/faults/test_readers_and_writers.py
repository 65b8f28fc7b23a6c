"""Beside a running hour: readers, maintenance, a second command for the same hour (faults 1, 3 and 20)."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.lake import ledger
from pipelines.lake.content_hash import table_hash
from pipelines.lake.tables import table_version
from pipelines.settings import environment, load_settings
from tests.faults.small_loop import HOURS, ONE_THREAD, differing, said, start_step

BY_HOUR = ("impressions", "feedback", "user_hour", "item_hour", "training_examples")
PINNED = ("impressions", "training_examples", "user_features", "scores")
MAINTAIN = """
import sys
from pathlib import Path
from pipelines.settings import load_settings
from pipelines.steps import maintain_tables
maintain_tables.FILES_A_PARTITION = 0
print(maintain_tables.run(load_settings(Path(sys.argv[1]))).detail, flush=True)
"""


def start(*command):
    environ = environment(PYTHONPATH=str(Path(__file__).parents[2]), **ONE_THREAD)
    return subprocess.Popen([sys.executable, *command], env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended_well(*processes):
    """What each printed."""
    found = [(*one.communicate(timeout=600), one.returncode) for one in processes]
    assert [code for *_, code in found] == [0] * len(processes), found
    return [out for out, *_ in found]


@pytest.mark.faults
def test_a_reader_finds_an_hour_as_it_was_or_as_it_is_and_nothing_between(root_before, staged):
    settings, after = root_before("build_features"), load_settings(staged.after["build_features"], {})
    whole = {name: {table_hash(one, name, hours=HOURS[-1:]) for one in (settings, after)} for name in BY_HOUR}
    seen = {name: set() for name in BY_HOUR}
    running = start_step(settings.home, "build_features", HOURS[-1])
    while running.poll() is None:
        for name in BY_HOUR:
            seen[name].add(table_hash(settings, name, hours=HOURS[-1:]))
        time.sleep(0.1)
    ended_well(running)
    assert all(seen[name] <= whole[name] for name in BY_HOUR), (seen, whole)
    assert sum(map(len, seen.values())) > len(BY_HOUR), "the reader must have seen tables before and after their commit"


@pytest.mark.faults
@pytest.mark.parametrize("step", ["build_features", "finetune_ranker"])
def test_maintenance_beside_a_step_disturbs_neither_it_nor_readers_of_what_was(root_before, staged, step):
    settings = root_before(step)
    pinned = {(name, version): table_hash(settings, name, version=version) for name in PINNED for version in _versions(settings, name)}
    both = [start_step(settings.home, step, HOURS[-1]), start("-c", MAINTAIN, str(settings.home))]
    while any(one.poll() is None for one in both):
        for (name, version), was in pinned.items():
            assert table_hash(settings, name, version=version) == was
        time.sleep(0.3)
    assert "readable since" in ended_well(*both)[1]
    assert differing(said(settings), said(load_settings(staged.after[step], {}))) == []


def _versions(settings, name):
    return {table_version(settings, name), max(0, table_version(settings, name) - 1)}


@pytest.mark.faults
def test_two_commands_for_one_hour_do_each_step_once(root_before, staged):
    settings = root_before("build_features")
    command = ("-m", "pipelines.cli", "--home", str(settings.home), "hour", HOURS[-1])
    ended_well(start(*command), start(*command))
    assert differing(said(settings), said(load_settings(staged.after["promote_models"], {}))) == []
    done = [row.step for row in ledger.rows(settings, hour=HOURS[-1]) if row.status == "done"]
    assert len(done) == len(set(done)) == 9
