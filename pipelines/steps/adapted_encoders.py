"""Adapted encoders that wait to be chosen: each in a folder of its version, with the ranker that was fitted to it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.local.landing import write_file
from pipelines.settings import Settings

ENCODER = "encoder"
_REPORT = "report.json"
_BEFORE = "before.json"  # beside an encoder that was chosen, or went to staging


@dataclass(frozen=True)
class AdaptedReport:
    """What was made: registered version of each kind, and lines that say what it gains. Written last: a folder without it is unfinished."""

    encoder_version: str
    method: str
    hour: str
    versions: dict[str, str]
    gains: list[str]


def adapted_folder(settings: Settings, encoder_version: str) -> Path:
    """``encoder`` (Hugging Face), ``ranker``, ``ranker_state`` and ``report.json``."""
    return settings.home / "encoders" / encoder_version


def write_report(settings: Settings, report: AdaptedReport) -> None:
    path = adapted_folder(settings, report.encoder_version) / _REPORT
    write_file(path, (json.dumps(report.__dict__, indent=2) + "\n").encode())


def read_report(settings: Settings, encoder_version: str) -> AdaptedReport:
    """Raises UserError where no finished encoder has this version."""
    path = adapted_folder(settings, encoder_version) / _REPORT
    if not path.exists():
        known = ", ".join(sorted(found.parent.name for found in (settings.home / "encoders").glob(f"*/{_REPORT}"))) or "none"
        raise UserError(f"no adapted encoder {encoder_version!r}; found {known}; `recloop adapt-encoder` makes one")
    return AdaptedReport(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Before:
    """What was at work before an encoder was chosen: ``encoder.path`` (None: the packaged one), and the release in production."""

    path: str | None
    release_id: str


def note_before(settings: Settings, encoder_version: str, release_id: str) -> None:
    """Leaves the way back beside an encoder that is chosen, or goes to staging."""
    before = Before(settings.encoder.path, release_id)
    write_file(adapted_folder(settings, encoder_version) / _BEFORE, (json.dumps(asdict(before)) + "\n").encode())


def noted_before(folder: Path) -> Before | None:
    """The way back from the encoder in this folder."""
    note = folder / _BEFORE
    return Before(**json.loads(note.read_text())) if note.exists() else None


def paths_before(settings: Settings) -> list[str | None]:
    """Every ``encoder.path`` that was at work before an adapted encoder was."""
    found = (noted_before(note.parent) for note in sorted((settings.home / "encoders").glob(f"*/{_BEFORE}")))
    return [before.path for before in found if before is not None]
