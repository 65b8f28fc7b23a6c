"""The pieces of the demo that need no service; the whole of it is the system test's."""

import io
import socket

import pytest
from rich.console import Console

from pipelines.errors import UserError
from pipelines.local.demo import check_machine, prepare_data
from pipelines.local.demo_data import write_demo_data
from pipelines.local.logged_hours import is_decided, is_scored, start_hour
from pipelines.local.stages import Stages
from pipelines.settings import load_settings

START = "2026-11-10T08"


@pytest.fixture
def stages():
    return Stages(Console(file=io.StringIO(), width=200))


def test_a_port_that_was_set_and_is_taken_ends_it_before_anything_is_written(tmp_path, stages):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = load_settings(tmp_path / "root", {"RECLOOP__MLFLOW__PORT": str(port)})
        with pytest.raises(UserError, match=f"mlflow port: .*{port}"):
            check_machine(settings, stages)
    assert not (tmp_path / "root").exists()


def test_the_demo_goes_on_with_the_data_that_the_root_holds(tmp_path, stages, monkeypatch):
    monkeypatch.delenv("RECLOOP_HOME", raising=False)
    written = write_demo_data(load_settings(tmp_path, {}), "made-up", "fast")
    settings = prepare_data(load_settings(tmp_path, {}), stages)
    assert settings.lake.start_hour == written.start_hour
    assert "a made-up catalogue" in stages.console.file.getvalue()


def test_without_a_start_hour_the_error_says_what_to_run(tmp_path):
    with pytest.raises(UserError, match="recloop demo-data movielens"):
        start_hour(load_settings(tmp_path, {}))


def test_an_hour_counts_as_done_once_a_later_one_is(make_root, ledger_row):
    from pipelines.lake import ledger

    root = make_root()
    assert not is_scored(root.settings, START) and is_decided(root.settings, START)
    ledger.write_rows(root.settings, [ledger_row("score_users", "2026-11-10T14")])
    assert is_scored(root.settings, "2026-11-10T10") and not is_scored(root.settings, "2026-11-10T15")
    root.release("2026-11-10T14", "rejected")
    assert is_decided(root.settings, "2026-11-10T14") and not is_decided(root.settings, "2026-11-10T15")
