"""The root's Spark session on the warm server; what a killed predecessor left running in it is ended first."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipelines.errors import TransientError
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RETRIES, RETRY_MS = 5, 3000  # by default a client waits more than ten minutes for a server that is gone


@contextmanager
def spark_session(settings: Settings) -> Iterator["SparkSession"]:
    """The one session of the root, to be used under its writer lock: whoever comes next interrupts what was left in it.

    A killed client does not stop its query; without the interrupt a write of the dead attempt could commit after ours.
    One session for all steps and hours keeps the server's Python workers, which belong to a session, and their models warm.
    Raises TransientError where the server ends meanwhile: the next session starts it anew.
    """
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    from pipelines.local.services import ensure_spark

    address = ensure_spark(settings)
    builder: Any = SparkSession.builder
    spark = builder.remote(connection(settings, address)).create()
    spark.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES, max_backoff=RETRY_MS)])
    try:
        spark.interruptAll()
        yield spark
        _forget(spark)
    except BaseException as error:
        if _is_gone(error):
            raise TransientError(f"Spark at {address.split('/;')[0]} does not answer; see its log, and run the step again") from error
        with suppress(Exception):  # it must not hide the error that the step ended with
            spark.interruptAll()
            _forget(spark)
        raise
    finally:
        spark.client.close()


def connection(settings: Settings, address: str) -> str:
    """The address with the name of the root's session, which every step and every attempt shares, unless it names one itself.

    Roots that share one must not run at once: each ends what the others left in it.
    """
    given = address.rstrip(";") if "/;" in address else f"{address.rstrip('/')}/"
    own = {"session_id": uuid.uuid5(uuid.NAMESPACE_URL, str(settings.home)), "user_id": "recloop"}
    return ";".join([given, *(f"{name}={value}" for name, value in own.items() if f";{name}=" not in given)])


def unnamed(address: str) -> str:
    """The address without the name of a session: whoever connects by it gets one of their own, which they may stop."""
    return re.sub(r";session_id=[^;]*", "", address)


def _forget(spark: "SparkSession") -> None:
    """The server keeps persisted frames of closed sessions: without this its heap fills up within hours."""
    spark.catalog.clearCache()


def _is_gone(error: BaseException) -> bool:
    from pyspark.errors.exceptions.connect import SparkConnectGrpcException

    return isinstance(error, SparkConnectGrpcException) and "StatusCode.UNAVAILABLE" in str(error)
