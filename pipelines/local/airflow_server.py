"""``airflow standalone`` of a root: how it is configured, started, and known to be ready."""

import configparser
import json
import os
import secrets
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

from pipelines.errors import UserError
from pipelines.local import ports, processes
from pipelines.local.airflow_client import AirflowAccess
from pipelines.local.code_version import ROOT
from pipelines.local.service_records import Record
from pipelines.settings import Settings, environment

NAME = "airflow"
DEFAULT_PORT = 8080
PATIENCE_S = 240.0
USER = "admin"
DAGS = ROOT / "dags"
HELPERS = frozenset({"loop_dags"})
POOLS = {"spark": "steps that write by Spark: one at a time", "gpu": "steps that train: one at a time"}
# `standalone` starts each part as `airflow <part>`. The log servers of two of them would listen on every address and have
# no option for it; on one machine the logs are read from the folder, so they are left out.
WRAPPER = """#!/bin/sh
case "$1" in scheduler | triggerer) exec "{airflow}" "$@" --skip-serve-logs ;; esac
exec "{airflow}" "$@"
"""


def made_for(settings: Settings) -> str:
    return f"port {settings.airflow.port}"


def launch(settings: Settings) -> Record:
    """Starts Airflow. Raises UserError for a taken port."""
    port = ports.choose_port("airflow.port", settings.airflow.port, DEFAULT_PORT)
    home, log = airflow_home(settings), settings.logs / "airflow.log"
    password = write_configuration(settings, port)
    process = processes.start([str(home / "bin" / "airflow"), "standalone"], log, service_environment(settings), home)
    url, login = f"http://{ports.LOOPBACK}:{port}", {"user": USER, "password": password}
    return Record(NAME, process, port, url, str(log), made_for(settings), login)


def wait(settings: Settings, record: Record) -> None:
    """Until the scheduler works and every DAG is parsed; then the pools are made, where they are missing."""
    access = access_of(settings, record)
    processes.wait_until_ready("Airflow", record.process, lambda: is_ready(access), Path(record.log), PATIENCE_S)
    for name, description in POOLS.items():
        access.create_pool(name, 1, description)


def access_of(settings: Settings, record: Record) -> AirflowAccess:
    return AirflowAccess(record.url, record.secrets["user"], record.secrets["password"], airflow_home(settings) / "logs")


def airflow_home(settings: Settings) -> Path:
    return settings.home / "airflow"


def is_ready(access: AirflowAccess) -> bool:
    """Raises UserError with the first DAG file that cannot be imported."""
    if not access.is_healthy():
        return False
    if errors := access.import_errors():
        raise UserError(f"Airflow cannot import {errors[0]}")
    return access.dag_ids() >= {path.stem for path in DAGS.glob("*.py")} - HELPERS


def service_environment(settings: Settings) -> dict[str, str]:
    """What Airflow and each of its tasks run with."""
    home = airflow_home(settings)
    path = os.pathsep.join([str(home / "bin"), str(Path(sys.executable).parent), environment().get("PATH", os.defpath)])
    return environment(
        AIRFLOW_HOME=str(home), RECLOOP_HOME=str(settings.home), PATH=path, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false", MLFLOW_DISABLE_TELEMETRY="true", NO_COLOR="1",
    )  # fmt: skip


def write_configuration(settings: Settings, port: int) -> str:
    """airflow.cfg, log-in and wrapper; keys and password are made once and kept. Answers the password."""
    home = airflow_home(settings)
    (home / "bin").mkdir(parents=True, exist_ok=True)
    wrapper = home / "bin" / "airflow"
    wrapper.write_text(WRAPPER.format(airflow=Path(sys.executable).parent / "airflow"), encoding="utf-8")
    wrapper.chmod(0o755)
    login = home / "simple_auth_manager_passwords.json.generated"
    password = json.loads(login.read_text(encoding="utf-8"))[USER] if login.exists() else secrets.token_urlsafe(12)
    _write_private(login, json.dumps({USER: password}) + "\n")
    _write_private(home / "airflow.cfg", _configuration(settings, port, _kept_keys(home / "airflow.cfg")))
    return password


def _configuration(settings: Settings, port: int, keys: dict[str, str]) -> str:
    home, url = airflow_home(settings), f"http://{ports.LOOPBACK}:{port}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": DAGS, "executor": "LocalExecutor", "parallelism": 4, "load_examples": False,
            "dags_are_paused_at_creation": False, "fernet_key": keys["fernet_key"], "simple_auth_manager_users": f"{USER}:admin",
            "execution_api_server_url": f"{url}/execution/",
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}"},
        "api": {
            "host": ports.LOOPBACK, "port": port, "base_url": url, "workers": 1, "secret_key": keys["secret_key"],
            "instance_name": f"recloop {settings.domain}",
        },
        "api_auth": {"jwt_secret": keys["jwt_secret"]},
        "scheduler": {"scheduler_heartbeat_sec": 1, "scheduler_idle_sleep_time": 0.2, "enable_health_check": False},
        "dag_processor": {"parsing_processes": 1, "min_file_process_interval": 30},
    }  # fmt: skip
    lines = [f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()) for section, values in sections.items()]
    return "\n".join(lines)


def _kept_keys(path: Path) -> dict[str, str]:
    """Keys of the configuration that is there, else new ones: a new fernet or signing key would end every session."""
    kept = configparser.RawConfigParser()
    kept.read(path, encoding="utf-8")
    fresh = {"fernet_key": urlsafe_b64encode(secrets.token_bytes(32)).decode(), "secret_key": secrets.token_hex(16)}
    fresh["jwt_secret"] = secrets.token_hex(32)
    found = {key: value for section in kept.sections() for key, value in kept.items(section) if key in fresh}
    return fresh | found


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as target:
        target.write(text)
