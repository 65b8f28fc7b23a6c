"""MLflow from here: one client, short waits, and one clear error when the server is away."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential

from pipelines.errors import TransientError, UserError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

Answer = TypeVar("Answer")

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # `call` tries again, with a bound on the whole wait
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_UV_AUTO_DETECT": "false",
}
_TRANSIENT = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")
_ATTEMPTS, _LAST_START_S = 5, 18  # a refused connection: 8 s in all; a server that hangs: 2 x 10 s


class RegistryDown(TransientError):
    """MLflow cannot be reached, or answers with server errors."""


def call(settings: Settings, request: Callable[["MlflowClient"], Answer]) -> Answer:
    """The request's answer, tried again for a while; it must bear being sent twice. Raises RegistryDown."""
    uri = tracking_uri(settings)
    retrying = Retrying(
        stop=stop_after_attempt(_ATTEMPTS) | stop_after_delay(_LAST_START_S), wait=wait_exponential(0.5, max=4),
        retry=retry_if_exception(_is_transient), reraise=True,
    )  # fmt: skip
    try:
        return retrying(request, _client(uri))
    except Exception as error:
        if not _is_transient(error):
            raise
        reason = " ".join(str(error).rpartition(": ")[2].split()).strip("'\")")[:120]
        advice = "check mlflow.tracking_uri" if settings.mlflow.tracking_uri else "start it with `recloop up`"
        raise RegistryDown(f"MLflow at {uri} does not answer ({reason}); {advice}, then run the step again") from None


def tracking_uri(settings: Settings) -> str:
    """Where MLflow listens: as set, else this root's own server. Raises RegistryDown where that does not run."""
    from pipelines.local.services import mlflow_uri

    try:
        return mlflow_uri(settings)
    except UserError as error:
        raise RegistryDown(str(error)) from None


def error_code(error: BaseException) -> str | None:
    """MLflow's name of the error, for example RESOURCE_DOES_NOT_EXIST."""
    code: str | None = getattr(error, "error_code", None)
    return code


@contextmanager
def unless_exists() -> Iterator[None]:
    """Passes over MLflow's error that somebody else was first to create the thing."""
    try:
        yield
    except Exception as error:
        if error_code(error) != "RESOURCE_ALREADY_EXISTS":
            raise


@cache
def _client(uri: str) -> "MlflowClient":
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _is_transient(error: BaseException) -> bool:
    """Connection errors and 5xx; artifact transfers raise those of ``requests``."""
    from requests import HTTPError, RequestException

    if isinstance(error, HTTPError):
        return error.response is not None and error.response.status_code >= 500
    return isinstance(error, RequestException) or error_code(error) in _TRANSIENT
