"""A disk that takes no more (fault 12): the server may write no file of more than a few bytes, until there is room again."""

import resource

import pytest

from pipelines.lake import ledger
from pipelines.local import processes
from pipelines.local.services import running
from pipelines.settings import load_settings
from tests.faults.small_loop import HOURS, differing, finish_step, run_step, said

SMALL = 1500  # less than any commit or data file of an hour


@pytest.fixture
def without_room(spark_settings, spark_server):
    """Takes the room for files away from the server and its workers, or gives it back."""
    (pid,) = [service.pid for service in running(spark_settings) if service.name == "spark"]

    def limit(size):
        for one in processes.members(pid):
            _, most = resource.prlimit(one.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(one.pid, resource.RLIMIT_FSIZE, (size, most))

    yield limit
    limit(resource.RLIM_INFINITY)


@pytest.mark.faults
@pytest.mark.parametrize(("step", "first"), [("build_features", "ingest"), ("score_users", "score_users")])
def test_a_step_without_room_fails_with_the_reason_and_is_made_good(root_before, staged, without_room, step, first):
    settings = root_before(step)
    before = said(settings)
    without_room(SMALL)
    failed = run_step(settings.home, step, HOURS[-1])
    without_room(resource.RLIM_INFINITY)
    assert failed.returncode == 1 and "File too large" in failed.stdout, failed
    assert differing(said(settings), before) == []
    row = ledger.rows(settings, first, HOURS[-1])[-1]
    assert row.status == "failed" and row.outputs == {}
    finish_step(settings.home, step, HOURS[-1])
    assert differing(said(settings), said(load_settings(staged.after[step], {}))) == []
