"""Roots of the lake: an empty one, and one a module with every Spark table made."""

import pytest

from pipelines.settings import load_settings

START = "2026-11-10T08"


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\n")
    return load_settings(tmp_path, {})


@pytest.fixture(scope="module")
def lake(tmp_path_factory, spark_server, spark):
    from pipelines.lake.tables import create_spark_tables

    settings = load_settings(tmp_path_factory.mktemp("lake"), {"RECLOOP__SPARK__REMOTE": spark_server})
    create_spark_tables(spark, settings)
    return settings
