"""The small control tables (ledger, releases, metrics), written by delta-rs alone."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipelines.lake.tables import read_table, table_exists, table_path
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES

COMPACT_ABOVE_FILES = 100


def append_rows(settings: Settings, name: str, rows: Sequence[dict[str, Any]], onto: int | None = None) -> int:
    """Appends rows in one commit and answers its version. ``onto``: the version that the commit must follow, else CommitFailedError."""
    table = _open(settings, name, onto)
    properties = CommitProperties(max_commit_retries=0) if onto is not None else None
    write_deltalake(table, _arrow(name, rows), mode="append", schema_mode="merge", commit_properties=properties)
    if len(table.file_uris()) > COMPACT_ABOVE_FILES and onto is None:
        table.optimize.compact()
    return table.version()


@retry(retry=retry_if_exception_type(CommitFailedError), stop=stop_after_attempt(8), wait=wait_random_exponential(0.1, 2), reraise=True)
def replace_rows(settings: Settings, name: str, rows: Sequence[dict[str, Any]], predicate: str) -> int:
    """Replaces the rows that match the predicate in one commit: a rerun leaves the same content; a conflict is tried again."""
    table = _open(settings, name)
    write_deltalake(table, _arrow(name, rows), mode="overwrite", predicate=predicate)
    return table.version()


def read_rows(settings: Settings, name: str, **kwargs: Any) -> list[dict[str, Any]]:
    """Rows as dictionaries; none where the table does not exist yet."""
    if not table_exists(settings, name):
        return []
    rows: list[dict[str, Any]] = read_table(settings, name, **kwargs).to_pylist()
    return rows


def newest_version(settings: Settings, name: str) -> int:
    """The table's version; it is created where it is missing."""
    return _open(settings, name).version()


def _open(settings: Settings, name: str, version: int | None = None) -> DeltaTable:
    path, contract = str(table_path(settings, name)), TABLES[name]
    if not DeltaTable.is_deltatable(path):
        DeltaTable.create(path, schema=contract.schema, mode="ignore", partition_by=list(contract.partition) or None)
    return DeltaTable(path, version=version)


def _arrow(name: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TABLES[name].schema)
