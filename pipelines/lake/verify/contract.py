"""A table against its contract: who writes it, which protocol its readers need, its columns, partitions and constraints."""

import re

from deltalake import DeltaTable

from pipelines.lake.columns import differing_columns
from pipelines.lake.verify.delta_log import Log
from pipelines.lake.verify.findings import Findings, listed
from spark_jobs.contracts import Table

READER, WRITERS = 1, (1, 2, 3, 4, 7)
WRITER_FEATURES = frozenset({"invariants", "appendOnly", "checkConstraints", "changeDataFeed"})
CONSTRAINT = "delta.constraints."


def check_engine(found: Findings, table: Table, log: Log) -> None:
    """Two engines on one local table lose acknowledged commits: every commit is the contract's engine's."""
    foreign = [commit for _, commit in sorted(log.commits.items()) if commit.engine != table.engine]
    if foreign:
        versions, engines = listed([commit.version for commit in foreign]), listed(sorted({commit.engine for commit in foreign}))
        advice = f"stop what else writes here; commits of {table.engine} from then on may have been overwritten"
        found.add("engine", table.name, f"versions {versions}", f"written by {engines}", f"written by {table.engine} alone", advice)


def check_contract(found: Findings, table: Table, delta: DeltaTable) -> None:
    """Protocol, columns, partition columns and CHECK constraints."""
    version = f"version {delta.version()}"
    wrong = _wrong_protocol(delta)
    if wrong:
        expected = f"reader {READER}, writer of {WRITERS} with {', '.join(sorted(WRITER_FEATURES))} at most"
        found.add("protocol", table.name, version, wrong, expected)
    for name, (held, promised) in differing_columns(table, delta).items():
        found.add("schema", table.name, f"{version}, column {name}", held, promised)
    partition = tuple(delta.metadata().partition_columns)
    if partition != table.partition:
        found.add("partition", table.name, version, f"partitioned by {partition}", f"partitioned by {table.partition}")
    for name, (held, promised) in _constraints(table, delta).items():
        advice = "ALTER TABLE … ADD CONSTRAINT by Spark, once the rows that break it are mended"
        found.add("constraint", table.name, f"{version}, CHECK {name}", held, promised, advice)


def _wrong_protocol(delta: DeltaTable) -> str | None:
    protocol = delta.protocol()
    features = {*(protocol.reader_features or ()), *(protocol.writer_features or ())}
    surplus = sorted(str(feature) for feature in features - WRITER_FEATURES)
    if protocol.min_reader_version <= READER and protocol.min_writer_version in WRITERS and not surplus:
        return None
    return f"reader {protocol.min_reader_version}, writer {protocol.min_writer_version} with {', '.join(surplus) or 'no other feature'}"


def _constraints(table: Table, delta: DeltaTable) -> dict[str, tuple[str, str]]:
    settings = delta.metadata().configuration
    held = {name: settings.get(CONSTRAINT + name) or "missing" for name in table.checks}
    return {name: (held[name], condition) for name, condition in table.checks.items() if _plain(held[name]) != _plain(condition)}


def _plain(condition: str) -> str:
    """Spark writes a condition back with other spaces."""
    return re.sub(r"\s+", "", condition).lower()
