"""The MLflow server of a root: one worker on loopback, SQLite, artifacts served from the root."""

import sys
import urllib.request
from pathlib import Path

from pipelines.local import ports, processes
from pipelines.local.service_records import Record
from pipelines.settings import Settings, environment

NAME = "mlflow"
DEFAULT_PORT = 5000
PATIENCE_S = 120.0


def made_for(settings: Settings) -> str:
    return f"port {settings.mlflow.port}"


def launch(settings: Settings) -> Record:
    """Starts the server. Raises UserError for a taken port."""
    port = ports.choose_port("mlflow.port", settings.mlflow.port, DEFAULT_PORT)
    folder, log = settings.home / "mlflow", settings.logs / "mlflow.log"
    folder.mkdir(parents=True, exist_ok=True)
    process = processes.start(_command(folder, port), log, _environment(), folder)
    return Record(NAME, process, port, f"http://{ports.LOOPBACK}:{port}", str(log), made_for(settings))


def wait(settings: Settings, record: Record) -> None:
    def ready() -> bool:
        return processes.listens(record.process, record.port) and _is_healthy(record.url)

    processes.wait_until_ready("MLflow", record.process, ready, Path(record.log), PATIENCE_S)


def _command(folder: Path, port: int) -> list[str]:
    hosts = ",".join(f"{name}:{port}" for name in (ports.LOOPBACK, "localhost"))
    return [
        sys.executable, "-m", "mlflow", "server", "--host", ports.LOOPBACK, "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts"),
        "--allowed-hosts", hosts,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    """Without job runners the server takes 0.4 GB instead of 1.8."""
    return environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
