"""A Spark session for one step and hour, on the warm server; what a killed predecessor left running is ended first."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@contextmanager
def spark_session(settings: Settings, step: str, hour: str) -> Iterator["SparkSession"]:
    """Session whose id is a hash of (root, step, hour): a rerun meets its predecessor's and interrupts it.

    A killed client does not stop its query; without the interrupt a write of the dead attempt could commit after ours.
    """
    from pyspark.sql import SparkSession

    from pipelines.local.services import ensure_spark

    session_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{settings.home}|{step}|{hour}")
    builder: Any = SparkSession.builder
    spark = builder.remote(f"{ensure_spark(settings)}/;session_id={session_id};user_id=recloop").create()
    try:
        spark.interruptAll()
        yield spark
    except BaseException:
        spark.interruptAll()
        raise
    finally:
        spark.client.close()
