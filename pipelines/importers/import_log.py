"""Somebody's own log files to landing files of the event contract: all of them, or none."""

import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.importers.cells import cell
from pipelines.importers.landing_parts import LandingParts
from pipelines.importers.mapping import Mapping, Source, read_mapping
from pipelines.importers.records import records_of
from pipelines.importers.report import ImportReport
from pipelines.importers.rows import format_of, rows_of
from pipelines.local.landing import Record
from pipelines.settings import Settings

as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
DISTINCT_ITEMS = 2_000_000  # item states of a file that are told apart: at most about 200 MB


@dataclass(frozen=True)
class InputFile:
    """A file and the source it belongs to. ``name``: hash of its content and of what the mapping says about it."""

    path: Path
    source: Source
    sha256: str
    name: str


def import_log(settings: Settings, patterns: Sequence[str], mapping_file: Path, dry_run: bool = False) -> ImportReport:
    """Writes the records of these files into the landing folder; ``dry_run``: says only what would be written.

    A file that was imported with the same mapping changes nothing. Raises UserError, and leaves nothing behind, where a file
    or the mapping cannot be read, or where the files lack a column that the mapping names.
    """
    mapping = read_mapping(mapping_file)
    report = ImportReport(wall_clock(), settings.lake.max_record_bytes)
    inputs = _without_repeats([_input_file(path, mapping) for path in _paths(patterns)], report)
    try:
        with nullcontext() if dry_run else LandingParts(settings.landing) as parts:
            _map_files(inputs, report, parts)
            if parts is not None:
                report.written, report.there_before = parts.publish()
    except OSError as error:
        raise UserError(f"cannot write into {settings.landing}: {error.strerror or error}; nothing was imported") from None
    return report


def _paths(patterns: Sequence[str]) -> list[Path]:
    """The files of these names and patterns, each once. Raises UserError for a name without a file."""
    found: list[Path] = []
    for pattern in patterns:
        names = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)
        files = sorted(path for name in names if (path := Path(name)).is_file())
        if not files:
            raise UserError(f"no file {pattern}; give names of files, or patterns such as 'log/*.csv'")
        found += files
    return list(dict.fromkeys(found))


def _input_file(path: Path, mapping: Mapping) -> InputFile:
    source = _source_of(path, mapping)
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    said = {"format": format_of(path, source), **source.model_dump(exclude={"files", "format"}, exclude_defaults=True)}
    named = hashlib.sha256(f"{digest}\n{json.dumps(said, sort_keys=True)}".encode())
    return InputFile(path, source, digest, f"import-{named.hexdigest()[:32]}")


def _source_of(path: Path, mapping: Mapping) -> Source:
    fitting = [source for source in mapping.sources if source.files is None or fnmatch(path.name, source.files)]
    if len(fitting) != 1:
        patterns = ", ".join(str(source.files) for source in mapping.sources)
        raise UserError(f"{path}: fits {len(fitting)} sources of the mapping, expected one; their files are {patterns}")
    return fitting[0]


def _without_repeats(files: Sequence[InputFile], report: ImportReport) -> list[InputFile]:
    once: dict[str, InputFile] = {}
    for file in files:
        if once.setdefault(file.name, file) is not file:
            report.repeated.append(file.path)
    return list(once.values())


def _map_files(inputs: Sequence[InputFile], report: ImportReport, parts: LandingParts | None) -> None:
    """Raises UserError where a column is nowhere, or no row gives a record."""
    unseen = {file.source.files: file.source.column_names() for file in inputs if format_of(file.path, file.source) == "jsonl"}
    for file in inputs:
        _map_file(file, report, parts, unseen.get(file.source.files, set()))
    _check_seen(unseen)
    if not report.records:
        raise UserError(f"{report.rows.total()} rows of {len(inputs)} files give no record; look at where and split of the mapping")


def _map_file(file: InputFile, report: ImportReport, parts: LandingParts | None, unseen: set[str]) -> None:
    """Adds a file's records to the report and the parts; takes the columns that it has out of ``unseen``."""
    report.rows[file.path] = 0
    for row, kind, record in _records(file, report, unseen):
        line = as_json(record).encode("utf-8", "replace")
        report.add(kind, record, len(line), file.path, row)
        if parts is not None:
            parts.write(kind, file.name, line + b"\n")
    if parts is not None:
        parts.close(file.name)


def _records(file: InputFile, report: ImportReport, unseen: set[str]) -> Iterator[tuple[int, str, Record]]:
    """Row, kind and record; the same state of an item once, since a log of orders repeats it on every row."""
    items: set[bytes] = set()
    for number, row in rows_of(file.path, file.source):
        report.rows[file.path] += 1
        unseen -= {name for name in unseen if cell(row, name) is not None}
        for kind, record in records_of(row, file.source, file.sha256, number):
            if kind == "items":
                state = hashlib.blake2b(repr(record).encode("utf-8", "replace"), digest_size=16).digest()
                if state in items:
                    continue
                if len(items) < DISTINCT_ITEMS:
                    items.add(state)
            yield number, kind, record


def _check_seen(unseen: dict[str | None, set[str]]) -> None:
    """JSON Lines have no header: a column that no line has is a mistake of the mapping."""
    for pattern, names in unseen.items():
        if names:
            whose = f"of the files {pattern}" if pattern else "of the files"
            raise UserError(f"no line {whose} has a value for {sorted(names)[0]!r}, which the mapping names; mend the mapping")
