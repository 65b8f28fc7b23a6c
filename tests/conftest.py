"""One warm Spark Connect server for the whole session, started when the first test asks for it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.settings import Settings, load_settings

START = "2026-11-10T08"


@pytest.fixture(scope="session")
def spark_server(tmp_path_factory) -> Iterator[str]:
    """Address of the session's server."""
    from pipelines.local.services import down, ensure_spark

    settings = load_settings(tmp_path_factory.mktemp("spark-server"), {})
    try:
        yield ensure_spark(settings)
    finally:
        down(settings)


@pytest.fixture(scope="session")
def spark(spark_server):
    """A session on it, for transforms."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.remote(spark_server).create()
    yield session
    session.stop()


@pytest.fixture
def loop_settings(tmp_path: Path, spark_server) -> Callable[..., Settings]:
    """Settings of a root of its own on the session's server; its loop starts at START."""

    def make(name: str = "root", **lake: object) -> Settings:
        home = tmp_path / name
        home.mkdir()
        values = {"start_hour": START, "now": "loop", **lake}
        (home / "recloop.yaml").write_text(f"lake: {{{', '.join(f'{key}: {value}' for key, value in values.items())}}}\n")
        return load_settings(home, {"RECLOOP__SPARK__REMOTE": spark_server})

    return make
