"""Rows that were read, against what the ledger says was written."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.hours import shift
from pipelines.lake.ledger import LandingFile, LedgerRow, still_frozen
from pipelines.lake.verify.delta_log import Log
from pipelines.lake.verify.files import Content, read_batches
from pipelines.lake.verify.findings import Findings
from pipelines.lake.verify.ledger_checks import unacknowledged
from pipelines.lake.verify.ledger_rows import Acknowledged, Pass, passes, spoken
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES
from spark_jobs.landing_formats import KEPT_BYTES, records

EVENTS = ("impressions", "feedback")


def check_row_counts(
    found: Findings, settings: Settings, rows: Sequence[LedgerRow], contents: Mapping[str, Content], settled: "Settled",
    published: Mapping[int, Sequence[LedgerRow]],
) -> None:
    """Compares the passes of ingest, examples and scoring with the tables in ``contents``, as far as these are whole.

    ``published``: the ledger's rows by version of ``scores``.
    """
    if {*EVENTS, "items"} <= contents.keys():
        _check_ingest(found, settings, rows, contents, settled)
    _check_hours_of(found, "quarantine", "rows_refused", passes(rows, "ingest"), contents, settled)
    _check_hours_of(found, "training_examples", "rows_out", passes(rows, "build_examples"), contents, settled)
    if published and "scores" in contents:
        last = published[max(published)][-1]
        if settled.holds("scores", Pass((last.hour,), last)) and last.rows_out not in (None, contents["scores"].rows):
            found.add("rows", "scores", f"hour {last.hour}", f"{contents['scores'].rows} rows", f"{last.rows_out}, by {spoken([last])}")


class Settled:
    """Whether the rows of a pass are still those that it wrote: no commit that nobody acknowledged came over them."""

    def __init__(self, logs: Mapping[str, Log], by_table: Acknowledged) -> None:
        self._loose = {table: unacknowledged(log, by_table.get(table, {})) for table, log in logs.items()}

    def holds(self, table: str, one: Pass) -> bool:
        version = one.row.outputs.get(table, -1)
        later = [commit for commit in self._loose.get(table, ()) if commit.version > version]
        return not any((commit.first or "") <= one.hours[-1] and one.hours[0] <= (commit.last or "~") for commit in later)


def _check_ingest(
    found: Findings, settings: Settings, rows: Sequence[LedgerRow], contents: Mapping[str, Content], settled: Settled
) -> None:
    """``rows_out`` counts events and item records together; an item that is sent several times in a pass is one row of ``items``.

    So the events of a pass are at most rows_out less the pass's rows in ``items``, and at least rows_out less the lines of its item
    files: the same number, unless item records were repeated or refused. The lower bound needs the files.
    """
    items = _rows_by(contents["items"], "updated_hour")
    frozen = _frozen_files(rows)
    for one in _kept(passes(rows, "ingest"), "impressions"):
        if one.row.rows_out is None or not all(settled.holds(name, one) for name in (*EVENTS, "items")):
            continue
        events = sum(contents[name].rows_by_hour[hour] for name in EVENTS for hour in one.hours)
        most = one.row.rows_out - items[one.hours[0]]
        lines = _item_lines(settings.landing, frozen.get(one.hours[-1]))
        least = one.row.rows_out - lines if lines is not None else None
        if events > most or (least is not None and events < least):
            wanted = f"at most {most}" if least is None else (str(most) if least == most else f"{least} to {most}")
            _name(found, "impressions", one, f"{events} rows of impressions and feedback", wanted)


def _check_hours_of(
    found: Findings, table: str, figure: str, all_passes: Sequence[Pass], contents: Mapping[str, Content], settled: Settled
) -> None:
    if table not in contents:
        return
    for one in _kept(all_passes, table):
        said, held = getattr(one.row, figure), sum(contents[table].rows_by_hour[hour] for hour in one.hours)
        if said is not None and said != held and settled.holds(table, one):
            _name(found, table, one, f"{held} rows", str(said))


def _kept(all_passes: Sequence[Pass], table: str) -> list[Pass]:
    """Passes whose hours maintenance does not drop yet."""
    newest = max((one.hours[-1] for one in all_passes), default="")
    return [one for one in all_passes if one.hours[0] >= shift(newest, -24 * TABLES[table].retention_days)]


def _name(found: Findings, table: str, one: Pass, held: str, said: str) -> None:
    hours = one.hours[0] if len(one.hours) == 1 else f"{one.hours[0]}..{one.hours[-1]}"
    found.add("rows", table, f"hours {hours}", held, f"{said}, by the ledger row of {one.row.step}")


def _rows_by(content: Content, column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for file in content.files:
        for batch in read_batches(file, [column]):
            counts.update(batch.column(column).to_pylist())
    return counts


def _frozen_files(rows: Sequence[LedgerRow]) -> dict[str, tuple[LandingFile, ...]]:
    """Files by hour, as the first attempt of ingest fixed them."""
    frozen = still_frozen([row for row in rows if row.step == "ingest"])
    return {hour: row.files for hour, row in frozen.items()}


def _item_lines(landing: Path, files: Sequence[LandingFile] | None) -> int | None:
    """Records of the item files among these; None where the files are not known, or one of them is gone."""
    paths = [landing / file.path for file in files or () if file.kind == "items"]
    if files is None or not all(path.exists() for path in paths):
        return None
    return sum(1 for path in paths for _ in records(str(path), KEPT_BYTES))
