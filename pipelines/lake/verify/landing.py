"""Landing files that an hour took, and rules that it was drawn by: there, and unchanged."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta

from pipelines.clock import now
from pipelines.hours import end_of
from pipelines.lake.ledger import RULES, LandingFile, LedgerRow
from pipelines.lake.verify.findings import Findings
from pipelines.settings import Settings

RETENTION = timedelta(days=30)


def check_landing(found: Findings, settings: Settings, rows: Sequence[LedgerRow]) -> None:
    """Names files that changed, and those that went before their retention ended; the others that went are counted."""
    taken = {file.path: (row.hour, file) for row in reversed(rows) if row.status == "frozen" for file in row.files}
    today = now(settings, max((row.hour for row in rows), default="")) if rows else None
    old = 0
    for hour, file in taken.values():
        wrong = _wrong(settings, file)
        if wrong == "missing" and today and today - end_of(hour) > RETENTION:
            old += 1
        elif wrong:
            what, table = ("drawn", "slate_decisions") if file.kind == RULES else ("ingested", file.kind)
            advice = f"put the old file back (what is new goes under another name); without it the hour cannot be {what} again"
            found.add("landing", table, f"hour {hour}, file {file.path}", wrong, f"{file.size} bytes, as it was taken", advice)
    if old:
        found.note("ledger", f"{old} landing files are gone that were taken more than {RETENTION.days} days ago")


def _wrong(settings: Settings, file: LandingFile) -> str | None:
    path = (settings.home if file.kind == RULES else settings.landing) / file.path
    if not path.exists():
        return "missing"
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{path.stat().st_size} bytes, other content" if digest != file.sha256 else None
