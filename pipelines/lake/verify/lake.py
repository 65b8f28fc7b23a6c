"""All checks of the tables, each damage named once: what rests on a damaged thing is not checked any further."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.tables import table_path
from pipelines.lake.verify.contract import check_contract, check_engine
from pipelines.lake.verify.delta_log import Log, check_log, one_line, read_log
from pipelines.lake.verify.files import Content, check_files, live_files
from pipelines.lake.verify.findings import Findings, Verification
from pipelines.lake.verify.keys import check_keys
from pipelines.lake.verify.landing import check_landing
from pipelines.lake.verify.ledger_checks import check_hours, check_inputs, check_outputs
from pipelines.lake.verify.ledger_rows import Acknowledged, acknowledged, spoken
from pipelines.lake.verify.references import check_references
from pipelines.lake.verify.row_counts import Settled, check_row_counts
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES

# Beside a running loop a table that names rows of another is read before it: what it names was there by then. The ledger is the first.
_NAMERS = ("scores", "slate_log", "slate_decisions")
_ORDER = sorted(TABLES, key=lambda name: (_NAMERS.index(name) if name in _NAMERS else len(_NAMERS), name == "releases"))


@dataclass(frozen=True)
class _Checked:
    """A table after its own checks. ``fit``: whole and as its contract says, so that others can be compared with it."""

    log: Log
    content: Content
    fit: bool


def check_lake(settings: Settings, found: Findings, only: str | None = None) -> Verification:
    """Checks every table of the root; with ``only`` this one alone, without what ties it to others.

    It may run beside the loop: it takes no lock. Raises UserError where there is no table.
    """
    names = _tables(settings, only)
    rows = _ledger_rows(settings, found)
    by_table = acknowledged(rows)
    checked = {name: _check_table(settings, found, name, by_table) for name in names}
    for name, one in checked.items():
        if rows and TABLES[name].engine == "spark" and one.log.newest >= 0:
            check_outputs(found, name, one.log, by_table.get(name, {}))
            check_inputs(found, name, one.log, by_table.get(name, {}), rows)
    behind = {finding.table for finding in found.findings if finding.check == "ledger"}
    contents = {name: one.content for name, one in checked.items() if one.fit and name not in behind}
    settled = Settled({name: one.log for name, one in checked.items()}, by_table)
    check_row_counts(found, settings, rows, contents, settled, by_table.get("scores", {}))
    if only is None:
        _check_missing(found, names, by_table)
        check_hours(found, rows, settings.lake.start_hour)
        check_references(found, contents)
        check_landing(found, settings, rows)
    return _verification(found, checked)


def _tables(settings: Settings, only: str | None) -> list[str]:
    if only is not None:
        table_path(settings, only)
    names = [name for name in _ORDER if only in (None, name) and (table_path(settings, name) / "_delta_log").is_dir()]
    if not names:
        raise UserError(f"no {only or 'table'} under {settings.warehouse}; run `recloop demo` or an hour first")
    return names


def _ledger_rows(settings: Settings, found: Findings) -> list[LedgerRow]:
    try:
        return ledger.rows(settings)
    except (DeltaError, OSError, pa.ArrowException) as error:
        found.not_checked.append(f"tables against the ledger, which cannot be read: {one_line(error)}")
        return []


def _check_table(settings: Settings, found: Findings, name: str, by_table: Acknowledged) -> _Checked:
    """One table by itself: log, engine, contract, every row, keys."""
    before, table, folder = len(found.findings), TABLES[name], table_path(settings, name)
    log = read_log(folder)
    check_log(found, name, log, {version: spoken(rows) for version, rows in by_table.get(name, {}).items()})
    check_engine(found, table, log)
    opened = _open(found, name, log, str(folder))
    if opened is None:
        return _Checked(log, Content(whole=False), fit=False)
    check_contract(found, table, opened)
    content = check_files(found, table, live_files(opened, folder))
    as_promised = not any(finding.check in ("schema", "partition") for finding in found.findings[before:])
    if as_promised:
        check_keys(found, table, content.files)
    return _Checked(log, content, fit=content.whole and as_promised)


def _open(found: Findings, name: str, log: Log, path: str) -> DeltaTable | None:
    """The newest version, where the log tells what it is."""
    if not log.tells_the_newest:
        found.not_checked.append(f"rows of {name}: its log does not tell the newest version")
        return None
    try:
        return DeltaTable(path, version=log.newest)
    except (DeltaError, OSError) as error:
        if log.pointer:
            found.not_checked.append(f"rows of {name}: its _last_checkpoint leads nowhere")
            return None
        found.add("open", name, f"version {log.newest}", f"cannot be opened: {one_line(error)}", "a table that delta-rs opens")
        return None


def _check_missing(found: Findings, names: Sequence[str], by_table: Acknowledged) -> None:
    for name in sorted(by_table.keys() & TABLES.keys() - set(names)):
        newest = max(by_table[name])
        found.add("table", name, f"version {newest}", "no such table", f"the commit of {spoken(by_table[name][newest])}")
    if "ledger" not in names:
        found.add("table", "ledger", "version 0", "no such table", "a row for each attempt of each step")


def _verification(found: Findings, checked: Mapping[str, _Checked]) -> Verification:
    return Verification(
        len(checked), sum(len(one.log.commits) for one in checked.values()),
        sum(len(one.content.files) for one in checked.values()), sum(one.content.rows for one in checked.values()),
        found.findings, found.notes, found.not_checked,
    )  # fmt: skip
