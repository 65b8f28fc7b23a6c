"""``recloop verify``: the lake, the releases, and what waits in Airflow, in one answer."""

from datetime import timedelta

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.lake.verify.findings import Finding, Findings, Verification
from pipelines.lake.verify.lake import check_lake
from pipelines.settings import Settings

PATIENCE = timedelta(hours=1)


def verify(settings: Settings, table: str | None = None) -> Verification:
    """Reads everything once; with ``table`` this table alone, without what ties it to others. Starts and writes nothing."""
    from pipelines.registry.release_checks import check_releases

    found = Findings()
    result = check_lake(settings, found, table)
    if table is not None:
        found.not_checked.append("references between tables, releases, landing files, Airflow: run without --table")
        return result
    if not any(finding.table == "releases" for finding in found.findings):
        check_releases(found, settings)
    _note_waiting(found, settings)
    return result


def summary(result: Verification) -> str:
    """One line: what was read, and how many damages it has."""
    counts = f"{result.tables} tables, {result.commits} commits, {result.files} files, {result.rows} rows read"
    found = len(result.findings)
    return f"{counts}: {f'{found} finding' + 's' * (found > 1) if found else 'nothing found'}"


def lines(finding: Finding) -> list[str]:
    """The finding as it is printed."""
    head = f"{finding.check}  {finding.table}, {finding.where}: found {finding.found}; expected {finding.expected}"
    return [head, f"    {finding.kind}: {finding.advice}"]


def _note_waiting(found: Findings, settings: Settings) -> None:
    """Partitions without a run and runs without an end: the next hour brings their hours in, so they damage nothing."""
    from pipelines.local import airflow_server
    from pipelines.local.service_records import read_records

    record = read_records(settings).get(airflow_server.NAME)
    if record is None or not record.alive:
        found.not_checked.append("partitions that wait in Airflow: it does not run")
        return
    access = airflow_server.access_of(settings, record)
    try:
        for waiting in [*access.pending(), *access.unfinished(wall_clock() - PATIENCE)]:
            found.note("airflow", f"{waiting.dag} for {waiting.hour}: {waiting.state} since {waiting.since}")
    except UserError as error:
        found.not_checked.append(f"partitions that wait in Airflow: {error}")
