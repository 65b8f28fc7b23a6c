"""A real MLflow server for the session, a gate in front of it that can be shut, and small models to register."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import torch
import yaml

from models.artifacts import save_policy, save_ranker
from models.policies import learners
from models.policies.base import PolicyConfig, SlatePolicy
from models.ranker import Ranker, RankerConfig
from pipelines.settings import Settings, load_settings
from tests.pipelines.registry.made_up_loop import START, Loop

torch.set_num_threads(1)
CONFIG = RankerConfig(
    user_counters=("clicks", "shows"), item_counters=("clicks", "shows", "age"), cross=("affinity", "query_match"),
    tasks=("click", "watch"), encoder_version="made-up", text_dim=6, dim=4, history=5, hidden=8, positions=4, relevance="query_match",
    image_dim=4,
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [
        str(Path(sys.executable).parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environ = os.environ | {"PATH": path, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environ, cwd=folder, start_new_session=True)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


def _wait_until_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        with suppress(requests.ConnectionError):
            if requests.get(f"{url}/health", timeout=2).ok:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the MLflow server of the tests did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def make_settings(tmp_path: Path, mlflow_url: str) -> Callable[..., Settings]:
    def make(home: str = "root", domain: str = "video", uri: str = mlflow_url) -> Settings:
        return load_settings(tmp_path / home, {"RECLOOP__MLFLOW__TRACKING_URI": uri, "RECLOOP__DOMAIN": domain})

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


class Gateway:
    """Passes bytes on to the server until it is shut: then it is as if MLflow had been killed."""

    def __init__(self, target: str) -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, outer = self._listener.accept()[0], socket.create_connection(self._target)
                self._open += [inner, outer]
                threading.Thread(target=_pump, args=(inner, outer), daemon=True).start()


def _pump(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError, ValueError):
        while True:
            for source in select.select([one, other], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                (other if source is one else one).sendall(data)


@pytest.fixture
def gateway(mlflow_url: str) -> Iterator[Gateway]:
    found = Gateway(mlflow_url)
    yield found
    found.shut()


@pytest.fixture
def quick_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.registry.client._ATTEMPTS", 2)


@pytest.fixture
def make_ranker(tmp_path: Path) -> Callable[[int], tuple[Ranker, Path]]:
    """A ranker of random weights and the folder that holds it."""

    def make(seed: int) -> tuple[Ranker, Path]:
        torch.manual_seed(seed)
        ranker, folder = Ranker(CONFIG).eval(), tmp_path / f"ranker-{seed}"
        torch.nn.init.normal_(ranker.position_term)
        save_ranker(ranker, folder)
        return ranker, folder

    return make


@pytest.fixture
def make_policy(tmp_path: Path) -> Callable[[int], tuple[SlatePolicy, Path]]:
    def make(seed: int) -> tuple[SlatePolicy, Path]:
        torch.manual_seed(seed)
        policy, folder = learners.make_policy(PolicyConfig(user_dim=3, candidate_dim=4, hidden=8), seed), tmp_path / f"policy-{seed}"
        torch.nn.init.normal_(policy.out.weight)
        save_policy(policy, folder)
        return policy, folder

    return make


@pytest.fixture
def loop(tmp_path, mlflow_url, make_encoder, save_release):
    """A root with a first release, whose hours are made up."""
    home = tmp_path / "root"
    home.mkdir()
    values = {"lake": {"start_hour": START, "now": "loop"}, "mlflow": {"tracking_uri": mlflow_url}}
    (home / "recloop.yaml").write_text(yaml.safe_dump(values))
    found = Loop(load_settings(home, {"RECLOOP__ENCODER__PATH": str(make_encoder("bert"))}), save_release)
    found.release()
    return found
