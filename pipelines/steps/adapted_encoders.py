"""Adapted encoders that wait to be chosen: each in a folder of its version, with the ranker that was fitted to it."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.local.landing import write_file
from pipelines.settings import Settings

ENCODER = "encoder"
_REPORT = "report.json"


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
