"""The ledger against the logs: what it says was committed is there, by whom it says; and what was committed, it names."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipelines.hours import hour_range
from pipelines.lake.ledger import DONE, SET_ASIDE, LedgerRow
from pipelines.lake.verify.delta_log import Commit, Log
from pipelines.lake.verify.findings import Findings, listed
from pipelines.lake.verify.ledger_rows import spoken

DATA_STEPS = ("ingest", "build_increments", "build_examples", "embed_items", "build_features")


def check_outputs(found: Findings, table: str, log: Log, by_version: Mapping[int, Sequence[LedgerRow]]) -> None:
    """Each version that the ledger names was committed, by the step and for the hours of its rows.

    A step that found nothing to write names the version that stood: that of its own earlier hours, or the table's creation.
    """
    for version, rows in sorted(by_version.items()):
        if version > log.newest:
            found.add("ledger", table, f"version {version}", f"the log ends at version {log.newest}", f"the commit of {spoken(rows)}")
        elif (commit := log.commits.get(version)) and commit.has_rows and not _made_by(commit, rows):
            said = f"a commit of {commit.step or 'nobody'} for {commit.first}..{commit.last}"
            found.add("ledger", table, f"version {version}", said, f"the commit of {spoken(rows)}")


def check_inputs(found: Findings, table: str, log: Log, by_version: Mapping[int, Sequence[LedgerRow]], rows: Sequence[LedgerRow]) -> None:
    """Nothing was built upon a version that is not there or that no row acknowledges; other such commits are noted."""
    readers: dict[int, list[LedgerRow]] = defaultdict(list)
    anew = max((row.ended_at for row in rows if row.step == SET_ASIDE and table in row.outputs), default=None)
    for row in rows:
        if row.status == "done" and table in row.inputs and (anew is None or row.ended_at > anew):
            readers[row.inputs[table]].append(row)
    built_upon = sorted(version for version in readers if version not in by_version and (version > log.newest or _counts(log, version)))
    for version in built_upon:
        there = "no ledger row names this commit" if version <= log.newest else f"the log ends at version {log.newest}"
        found.add("unacknowledged", table, f"version {version}", there, f"the input of {spoken(readers[version])} to be acknowledged")
    loose = [commit.version for commit in unacknowledged(log, by_version) if commit.version not in built_upon]
    if loose:
        found.note(table, f"commits that no ledger row names, and nothing was built upon: versions {listed(loose)}")
    if any(version < log.oldest_readable for version in readers):
        found.note(table, f"some hours read versions older than {log.oldest_readable}, the oldest that can still be read")


def unacknowledged(log: Log, by_version: Mapping[int, Sequence[LedgerRow]]) -> list[Commit]:
    """Commits of rows that no ledger row names: what a killed attempt left."""
    return [commit for version, commit in sorted(log.commits.items()) if version not in by_version and commit.has_rows]


def check_hours(found: Findings, rows: Sequence[LedgerRow], start: str | None) -> None:
    """Each data step has finished every hour from the first to its newest."""
    missing: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for step in DATA_STEPS:
        done = {row.hour for row in rows if row.step == step and row.status in DONE}
        lacking = tuple(hour for hour in hour_range(start or min(done), max(done)) if hour not in done) if done else ()
        if lacking:
            missing[lacking].append(step)
    for hours, steps in missing.items():
        advice = f"run `recloop hour H` for {listed(hours)}"
        found.add("hours", "ledger", f"hours {listed(hours)}", f"no finished {', '.join(steps)}", "every hour finished", advice)


def _counts(log: Log, version: int) -> bool:
    return version in log.commits and log.commits[version].has_rows


def _made_by(commit: Commit, rows: Sequence[LedgerRow]) -> bool:
    first, last = commit.first or "", commit.last or ""
    return any(row.step == commit.step and first <= row.hour <= last for row in rows)
