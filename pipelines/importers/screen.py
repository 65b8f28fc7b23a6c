"""An import on the screen: the first records, what would be refused, counts and hours, and what to do next."""

import json
import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.importers.landing_parts import KINDS
from pipelines.importers.report import ImportReport
from pipelines.local.landing import Record

LONGEST_CELL, LONGEST_EXAMPLE = 40, 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def print_dry_run(console: Console, report: ImportReport) -> None:
    """The first records of each kind, then what an import would say."""
    for kind in KINDS:
        if records := report.first_records.get(kind):
            console.print(_records(f"First {kind}", records))
    _print_counts(console, report)
    console.print("dry run: nothing was written")


def print_import(console: Console, report: ImportReport) -> None:
    _print_counts(console, report)
    if report.written:
        console.print(f"written: {len(report.written)} landing files", soft_wrap=True)
    for path in report.written:
        console.print(Text(f"  {path}"), soft_wrap=True)
    if report.there_before:
        end = "" if report.written else "; nothing changed"
        console.print(f"{len(report.there_before)} landing files were there before, from the same content and mapping{end}", soft_wrap=True)


def print_advice(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def _print_counts(console: Console, report: ImportReport) -> None:
    if report.refused:
        console.print(_refusals(report))
    records = ", ".join(f"{report.records[kind]:,} {kind}" for kind in KINDS if report.records[kind])
    console.print(f"{len(report.rows)} files, {report.rows.total():,} rows: {records}; {report.refused.total():,} would be refused")
    if report.reactions:
        console.print(", ".join(f"{count:,} {name}" for name, count in report.reactions.most_common()))
    for path in report.repeated:
        console.print(Text(f"{path} has the content of another file, and counts once"), soft_wrap=True)
    if report.first_hour:
        console.print(f"hours {report.first_hour} to {report.last_hour} (UTC)")


def _records(title: str, records: Sequence[Record]) -> Table:
    names = list(dict.fromkeys(name for record in records for name in record))
    table = _table(title, *names)
    for record in records:
        table.add_row(*[_cell(record.get(name)) for name in names])
    return table


def _refusals(report: ImportReport) -> Table:
    table = _table("What ingest would refuse", "kind", "reason", "records", "example")
    for (kind, reason), count in report.refused.most_common():
        example = report.refusals[kind, reason]
        where = f"{example.file.name} row {example.row}: {json.dumps(example.record, ensure_ascii=False)}"
        table.add_row(kind, reason, f"{count:,}", _short(where, LONGEST_EXAMPLE))
    return table


def _cell(value: object) -> Text:
    written = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _short(written, LONGEST_CELL)


def _short(written: str, longest: int) -> Text:
    """One line of what a terminal can print: without control characters and halves of surrogate pairs."""
    plain = " ".join(_UNPRINTABLE.sub(" ", written[: 2 * longest]).split())
    return Text(plain if len(plain) <= longest else plain[: longest - 1] + "…")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in columns:
        table.add_column(Text(column))
    return table
