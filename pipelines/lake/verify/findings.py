"""What a verification says: each damage once, with what is lost and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from spark_jobs.contracts import TABLES

EXAMPLES = 3
LANDED = ("impressions", "feedback", "items", "quarantine")
LOST = {
    "impressions": "what was shown there",
    "feedback": "what people did there",
    "items": "those states of the catalogue",
    "quarantine": "the records that were refused there",
    "slate_decisions": "those draws, for off-policy learning and judging",
    "slate_log": "those slates, for off-policy learning and judging",
    "releases": "which release was in force, and why",
    "metrics": "those figures of past hours",
    "ledger": "which versions those hours read and wrote",
}


@dataclass(frozen=True)
class Finding:
    """One damage. ``kind``: ``derived`` can be recomputed, ``source`` cannot; ``where``: version, hour or file."""

    check: str
    table: str
    where: str
    found: str
    expected: str
    kind: Literal["derived", "source"]
    advice: str


@dataclass(frozen=True)
class Note:
    """Worth knowing, and no damage."""

    table: str
    text: str


@dataclass(frozen=True)
class Verification:
    """``not_checked``: what could not be looked at, and why."""

    tables: int
    commits: int
    files: int
    rows: int
    findings: Sequence[Finding] = ()
    notes: Sequence[Note] = ()
    not_checked: Sequence[str] = ()


@dataclass
class Findings:
    """Gathers findings and notes of several checks."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def add(self, check: str, table: str, where: str, found: str, expected: str, advice: str | None = None) -> None:
        """``advice``: what mends it, where that is not a rebuild or a backup."""
        kind: Literal["derived", "source"] = "derived" if TABLES[table].kind == "derived" else "source"
        self.findings.append(Finding(check, table, where, found, expected, kind, advice or _advice(table)))

    def note(self, table: str, text: str) -> None:
        self.notes.append(Note(table, text))


def listed(values: Sequence[object]) -> str:
    """The first few, and how many there are."""
    shown = ", ".join(str(value) for value in values[:EXAMPLES])
    return shown if len(values) <= EXAMPLES else f"{shown} and {len(values) - EXAMPLES} more"


def _advice(table: str) -> str:
    if table == "scores":
        return "run `recloop verify --repair`: the draws that were logged are published again"
    if TABLES[table].kind == "derived":
        return "run `recloop rebuild`: it is recomputed from the sources"
    kept = ", unless the hour's landing files are still there" if table in LANDED else ""
    return f"put the folder {table}/ back from a backup; without one is lost: {LOST[table]}{kept}"
