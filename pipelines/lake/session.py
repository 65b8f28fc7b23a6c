"""The root's Spark session on the warm server; what a killed predecessor left running in it is ended first."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pipelines.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def spark_session(settings: Settings) -> Iterator["SparkSession"]:
    """The one session of the root, to be used under its writer lock: whoever comes next interrupts what was left in it.

    A killed client does not stop its query; without the interrupt a write of the dead attempt could commit after ours.
    One session for all steps and hours keeps the server's Python workers, which belong to a session, and their models warm.
    """
    from pyspark.sql import SparkSession

    from pipelines.local.services import ensure_spark

    session_id = uuid.uuid5(uuid.NAMESPACE_URL, str(settings.home))
    builder: Any = SparkSession.builder
    spark = builder.remote(f"{ensure_spark(settings)}/;session_id={session_id};user_id=recloop").create()
    try:
        spark.interruptAll()
        yield spark
        _forget(spark)
    except BaseException:
        with suppress(Exception):  # a dead server must not hide the error that the step ended with
            spark.interruptAll()
            _forget(spark)
        raise
    finally:
        spark.client.close()


def _forget(spark: "SparkSession") -> None:
    """The server keeps persisted frames of closed sessions: without this its heap fills up within hours."""
    spark.catalog.clearCache()
