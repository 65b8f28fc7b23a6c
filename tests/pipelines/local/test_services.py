"""Services with a trivial server in place of the JVM: the bookkeeping is the same for all three."""

import http.client
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.local import ports, processes, service_records, services
from pipelines.local.processes import Process
from pipelines.local.service_records import Record, read_records, services_lock, write_record
from pipelines.settings import Settings, load_settings


@dataclass
class WebServer:
    """Python's own file server; ``version`` stands for the hash of the code."""

    NAME: str = "web"
    version: str = "a"
    command: tuple[str, ...] = ()
    launched: list[int] = field(default_factory=list)

    def made_for(self, settings: Settings, /) -> str:
        return self.version

    def launch(self, settings: Settings, /) -> Record:
        port = ports.choose_port("web.port", None, 18100)
        command = self.command or (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
        log = settings.logs / "web.log"
        process = processes.start(command, log, os.environ, settings.home)
        self.launched.append(process.pid)
        return Record(self.NAME, process, port, f"http://127.0.0.1:{port}", str(log), self.version, {"password": "secret"})

    def wait(self, settings: Settings, record: Record, /) -> None:
        processes.wait_until_ready("web", record.process, lambda: processes.listens(record.process, record.port), Path(record.log), 20)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    settings = load_settings(tmp_path, {})
    yield settings
    services.stop_service(settings, "web")


def answers(record: Record) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", record.port, timeout=5)
    connection.request("GET", "/")
    return connection.getresponse().status == 200


def test_many_callers_at_once_start_one_process(settings):
    server = WebServer()
    with ThreadPoolExecutor(6) as pool:
        records = list(pool.map(lambda _: services._ensure(settings, server), range(6)))
    assert len(server.launched) == 1
    assert {record.process.pid for record in records} == set(server.launched)
    assert answers(records[0])


def test_a_second_starter_that_waits_too_long_is_one_line_and_starts_nothing(settings, monkeypatch):
    monkeypatch.setattr(service_records, "LOCK_TIMEOUT_S", 0.1)
    server = WebServer()
    line = r"another process has been starting web for 0\.1 s; see .*logs, then run again"
    with services_lock(settings, "web"), pytest.raises(UserError, match=line):
        services._ensure(settings, server)
    assert server.launched == [] and services.running(settings) == []


def test_the_record_is_for_its_owner_alone(settings):
    services._ensure(settings, WebServer())
    path = settings.run_folder / "services.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text())["web"]["secrets"] == {"password": "secret"}


def test_a_port_that_another_root_took_first_is_not_taken_for_ones_own(settings, monkeypatch):
    server, choose = WebServer(), ports.choose_port
    with socket.socket() as quicker:

        def chosen(*arguments):
            port = choose(*arguments)
            if not server.launched:
                quicker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of earlier tests may linger
                quicker.bind(("127.0.0.1", port))
                quicker.listen()
            return port

        monkeypatch.setattr(ports, "choose_port", chosen)
        record = services._ensure(settings, server)
        assert len(server.launched) == 2 and record.port != quicker.getsockname()[1]
        assert answers(record) and read_records(settings)["web"] == record


def test_changed_code_restarts_the_process(settings):
    server = WebServer()
    first = services._ensure(settings, server)
    server.version = "b"
    second = services._ensure(settings, server)
    assert not first.alive
    assert answers(second)
    assert read_records(settings)["web"].made_for == "b"


def test_a_process_that_died_is_started_again(settings):
    server = WebServer()
    processes.stop(services._ensure(settings, server).process)
    assert [service.alive for service in services.running(settings)] == [False]
    assert answers(services._ensure(settings, server))


def test_a_start_that_fails_leaves_no_process_and_no_record(settings):
    server = WebServer(command=(sys.executable, "-c", "import time; time.sleep(0.3); raise SystemExit('no such thing')"))
    with pytest.raises(UserError, match="no such thing"):
        services._ensure(settings, server)
    assert services.running(settings) == []


def test_down_stops_what_is_recorded_and_leaves_a_recycled_pid_alone(settings):
    mine = services._ensure(settings, WebServer(NAME="mlflow"))
    other = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], settings.logs / "o.log", os.environ, settings.home)
    write_record(settings, replace(mine, name="spark", process=Process(other.pid, "another boot/1")))
    services.down(settings)
    assert not mine.alive
    assert processes.is_alive(other)
    assert services.running(settings) == []
    processes.stop(other)


def test_two_roots_share_nothing(settings, tmp_path_factory):
    elsewhere = load_settings(tmp_path_factory.mktemp("other"), {})
    first, second = services._ensure(settings, WebServer()), services._ensure(elsewhere, WebServer())
    assert first.port != second.port
    services.stop_service(elsewhere, "web")
    assert first.alive


def test_addresses_that_are_set_start_nothing(tmp_path):
    settings = load_settings(tmp_path, {"RECLOOP__SPARK__REMOTE": "sc://cluster:15002", "RECLOOP__MLFLOW__TRACKING_URI": "http://mlflow:5000"})
    assert services.ensure_spark(settings) == "sc://cluster:15002"
    assert services.ensure_mlflow(settings) == services.mlflow_uri(settings) == "http://mlflow:5000"
    assert services.running(settings) == []


def test_without_mlflow_its_address_is_an_error_that_says_what_to_do(settings):
    with pytest.raises(UserError, match="MLflow is not running; run `recloop up`"):
        services.mlflow_uri(settings)


def test_a_record_that_is_not_ours_is_an_error(settings):
    settings.run_folder.mkdir(parents=True)
    path = settings.run_folder / "services.json"
    path.write_text("[1, 2")
    with pytest.raises(UserError, match="not a record of services"):
        services.running(settings)
    path.unlink()
