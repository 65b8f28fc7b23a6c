"""Roots without Spark: tables written by delta-rs, row by row."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.lake.tables import table_path, table_version
from pipelines.settings import Settings, load_settings
from spark_jobs.contracts import TABLES

START = "2026-11-10T08"


@pytest.fixture
def settings(tmp_path) -> Settings:
    (tmp_path / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\nslates: {{size: 3, candidates: 10}}\n")
    return load_settings(tmp_path, {})


@pytest.fixture
def write(settings) -> Callable[[str, list[dict[str, Any]]], int]:
    """Appends rows, missing columns null, and answers the table's version."""

    def append(name: str, rows: list[dict[str, Any]]) -> int:
        data = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
        write_deltalake(str(table_path(settings, name)), data, mode="append", partition_by=list(TABLES[name].partition) or None)
        return table_version(settings, name)

    return append
