"""The local services of a root: started when first needed, shared by its tasks, ended by ``down``."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from pipelines.errors import UserError
from pipelines.local import airflow_server, mlflow_server, ports, processes, spark_server
from pipelines.local.airflow_client import AirflowAccess
from pipelines.local.service_records import Record, forget, read_records, services_lock, write_record
from pipelines.settings import Settings

STOP_ORDER = (airflow_server.NAME, spark_server.NAME, mlflow_server.NAME)


class Server(Protocol):
    """A module that knows how to start one service."""

    NAME: str

    def made_for(self, settings: Settings, /) -> str:
        """Hash or text of what the running process cannot change."""

    def launch(self, settings: Settings, /) -> Record:
        """Starts the process and does not wait for it."""

    def wait(self, settings: Settings, record: Record, /) -> None:
        """Until it answers. Raises UserError with the reason where it does not."""


@dataclass(frozen=True)
class Service:
    """A service that this root started; ``alive`` is false for one that ended by itself."""

    name: str
    url: str
    pid: int
    alive: bool


def ensure_spark(settings: Settings) -> str:
    """Address of the Connect server: the cluster's where one is set, else the root's own, restarted for changed code."""
    if settings.spark.remote:
        return settings.spark.remote
    return _ensure(settings, spark_server).url


def ensure_mlflow(settings: Settings) -> str:
    """Address of MLflow: the one that is set, else the root's own, started if it does not run."""
    if settings.mlflow.tracking_uri:
        return settings.mlflow.tracking_uri
    return _ensure(settings, mlflow_server).url


def mlflow_uri(settings: Settings) -> str:
    """Address of MLflow; starts nothing. Raises UserError where the root's own does not run."""
    if settings.mlflow.tracking_uri:
        return settings.mlflow.tracking_uri
    record = read_records(settings).get(mlflow_server.NAME)
    if record is None or not record.alive:
        raise UserError("MLflow is not running; run `recloop up`")
    return record.url


def ensure_airflow(settings: Settings) -> AirflowAccess:
    """Address and log-in of the root's Airflow, started if it does not run."""
    record = _ensure(settings, airflow_server)
    return airflow_server.access_of(settings, record)


def up(settings: Settings) -> None:
    """Starts what does not run yet, side by side."""
    starts: tuple[Callable[[Settings], object], ...] = (ensure_spark, ensure_mlflow, ensure_airflow)
    with ThreadPoolExecutor(len(starts)) as pool:
        list(pool.map(lambda start: start(settings), starts))


def down(settings: Settings) -> None:
    """Stops what this root started, and only that: a recorded pid that now belongs to another process is left alone."""
    for name in STOP_ORDER:
        stop_service(settings, name)


def running(settings: Settings) -> list[Service]:
    """What this root started and has not stopped."""
    records = read_records(settings).values()
    return [Service(record.name, record.url, record.process.pid, record.alive) for record in records]


def stop_service(settings: Settings, name: str) -> bool:
    """Ends the service if this root's record still names a living process; True where it did."""
    record = read_records(settings).get(name)
    if record is None:
        return False
    stopped = processes.stop(record.process)
    forget(settings, name)
    return stopped


def _ensure(settings: Settings, server: Server) -> Record:
    """The running service, started where there is none, restarted where it was made for other code or settings."""
    if record := _fitting(settings, server):
        return record
    with services_lock(settings, server.NAME):
        return _fitting(settings, server) or _start(settings, server)


def _start(settings: Settings, server: Server, tries: int = 3) -> Record:
    """Recorded before it is ready, as made for nothing, so that a starter that is killed leaves no unknown process.

    Tried again where another server, of another root perhaps, was quicker to take the port.
    """
    stop_service(settings, server.NAME)
    record = server.launch(settings)
    write_record(settings, replace(record, made_for=""))
    try:
        server.wait(settings, record)
    except BaseException as error:
        stop_service(settings, server.NAME)
        if tries > 1 and isinstance(error, UserError) and not ports.is_free(record.port):
            return _start(settings, server, tries - 1)
        raise
    write_record(settings, record)
    return record


def _fitting(settings: Settings, server: Server) -> Record | None:
    record = read_records(settings).get(server.NAME)
    fits = record is not None and record.made_for == server.made_for(settings) and record.alive
    return record if record is not None and fits and ports.answers(record.port, timeout_s=5.0) else None
