"""The small control tables (ledger, releases, metrics), written by delta-rs alone."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake

from pipelines.lake.tables import read_table, table_exists, table_path
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES

COMPACT_ABOVE_FILES = 100


def append_rows(settings: Settings, name: str, rows: Sequence[dict[str, Any]], retries: int | None = None) -> int:
    """Appends rows in one commit and answers its version. ``retries=0``: refuse if anybody committed since the snapshot."""
    table = _open(settings, name)
    properties = CommitProperties(max_commit_retries=retries) if retries is not None else None
    write_deltalake(table, _arrow(name, rows), mode="append", commit_properties=properties)
    if len(table.file_uris()) > COMPACT_ABOVE_FILES and retries is None:
        table.optimize.compact()
    return table.version()


def replace_rows(settings: Settings, name: str, rows: Sequence[dict[str, Any]], predicate: str) -> int:
    """Replaces the rows that match the predicate in one commit: a rerun leaves the same content."""
    table = _open(settings, name)
    write_deltalake(table, _arrow(name, rows), mode="overwrite", predicate=predicate)
    return table.version()


def read_rows(settings: Settings, name: str, **kwargs: Any) -> list[dict[str, Any]]:
    """Rows as dictionaries; none where the table does not exist yet."""
    if not table_exists(settings, name):
        return []
    rows: list[dict[str, Any]] = read_table(settings, name, **kwargs).to_pylist()
    return rows


def _open(settings: Settings, name: str) -> DeltaTable:
    path, contract = str(table_path(settings, name)), TABLES[name]
    if not DeltaTable.is_deltatable(path):
        DeltaTable.create(path, schema=contract.schema, mode="ignore", partition_by=list(contract.partition) or None)
    return DeltaTable(path)


def _arrow(name: str, rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=TABLES[name].schema)
