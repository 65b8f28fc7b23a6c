"""What was refused, why, and taking it again: after a mend the same bytes land once more."""

import gzip
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.lake.tables import read_table
from pipelines.local.landing import write_once
from pipelines.settings import Settings
from spark_jobs.landing_formats import RECORD
from spark_jobs.parsing import REASONS

SHOWN_BYTES = 200


@dataclass(frozen=True)
class Refused:
    """One reason of one hour: how many records, what the reason means, and the first of them."""

    hour: str
    reason: str
    count: int
    meaning: str
    source_file: str
    line: int
    sample: str


def refused(settings: Settings, hour: str | None = None, reason: str | None = None) -> list[Refused]:
    """Refused records by hour and reason. Raises UserError for a reason that is none."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _rows(settings, hour, reason):
        groups.setdefault((row["hour"], row["reason"]), []).append(row)
    return [_group(*key, rows) for key, rows in sorted(groups.items())]


def replay(settings: Settings, hour: str | None = None, reason: str | None = None) -> dict[str, int]:
    """Lands the refused records again, one file a kind and format; answers the records of each file written or there before.

    The next hour takes them; what is still wrong is refused again. The same records again are the same file: taken once.
    """
    files: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _rows(settings, hour, reason):
        path = Path(row["source_file"])
        files.setdefault((path.parent.name, _ending(path)), []).append(row)
    written = {}
    for (kind, ending), rows in sorted(files.items()):
        content = _content(rows, ending)
        name = f"replay-{hashlib.sha256(content).hexdigest()[:16]}{ending}"
        write_once(settings.landing / kind / name, content)
        written[f"{kind}/{name}"] = len(rows)
    return written


def _ending(path: Path) -> str:
    return next((ending for ending in (".csv", ".parquet") if ending in path.suffixes), ".jsonl")


def _content(rows: Sequence[dict[str, Any]], ending: str) -> bytes:
    """Lines, or a row each where a record may hold line breaks."""
    if ending != ".parquet":
        return b"".join([*_header(rows, ending), *(row["raw"] + b"\n" for row in rows)])
    with io.BytesIO() as stream:
        pq.write_table(pa.table({RECORD: pa.array([row["raw"] for row in rows], pa.binary())}), stream)
        return stream.getvalue()


def _rows(settings: Settings, hour: str | None, reason: str | None) -> Sequence[dict[str, Any]]:
    if reason is not None and reason not in REASONS:
        raise UserError(f"unknown reason {reason!r}; reasons: {', '.join(REASONS)}")
    where = None if reason is None else pc.field("reason") == reason
    rows = read_table(settings, "quarantine", hours=None if hour is None else [hour], where=where).to_pylist()
    return sorted(rows, key=lambda row: (row["hour"], row["source_file"], row["line"]))


def _group(hour: str, reason: str, rows: Sequence[dict[str, Any]]) -> Refused:
    first = rows[0]
    sample = first["raw"][:SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return Refused(hour, reason, len(rows), REASONS[reason], first["source_file"], first["line"], sample)


def _header(rows: Sequence[dict[str, Any]], ending: str) -> list[bytes]:
    """The header under which CSV records are read. Raises UserError where their files do not agree on one."""
    if ending != ".csv":
        return []
    headers = {_first_line(Path(row["source_file"])) for row in rows}
    if len(headers) > 1:
        raise UserError(f"refused CSV records come from files with {len(headers)} different headers; replay one hour at a time")
    return list(headers)


def _first_line(path: Path) -> bytes:
    if not path.exists():
        raise UserError(f"landing file {path} is gone, and with it the header of its refused rows; land them by hand")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        return bytes(stream.readline().rstrip(b"\r\n")) + b"\n"
