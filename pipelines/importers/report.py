"""What an import found: counts, what ingest will refuse, the hours, the first records."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipelines.hours import hour_of
from pipelines.importers.judging import instant, reason_of
from pipelines.local.landing import Record

FIRST_RECORDS = 5


@dataclass(frozen=True)
class Refusal:
    """The first record that ingest will refuse for a reason."""

    file: Path
    row: int
    record: Record


@dataclass
class ImportReport:
    """Figures of one import; hours are those of valid events. ``repeated``: files with the content of another one."""

    latest: datetime
    max_record_bytes: int
    rows: Counter[Path] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    reactions: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    refusals: dict[tuple[str, str], Refusal] = field(default_factory=dict)
    first_records: dict[str, list[Record]] = field(default_factory=dict)
    first_hour: str | None = None
    last_hour: str | None = None
    repeated: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    there_before: list[Path] = field(default_factory=list)

    def add(self, kind: str, record: Record, line_bytes: int, file: Path, row: int) -> None:
        """Counts one record, judged as ingest will judge it."""
        self.records[kind] += 1
        shown = self.first_records.setdefault(kind, [])
        if len(shown) < FIRST_RECORDS:
            shown.append(record)
        reason = reason_of(kind, record, line_bytes, self.latest, self.max_record_bytes)
        if reason is not None:
            self.refused[kind, reason] += 1
            self.refusals.setdefault((kind, reason), Refusal(file, row, record))
        elif kind != "items":
            self._add_hour(hour_of(instant(record["ts"])))
            if kind == "feedback":
                self.reactions[record["type"]] += 1

    @property
    def refused_share(self) -> float:
        return self.refused.total() / max(1, self.records.total())

    def _add_hour(self, hour: str) -> None:
        self.first_hour = min(self.first_hour or hour, hour)
        self.last_hour = max(self.last_hour or hour, hour)
