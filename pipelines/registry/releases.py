"""Releases {encoder, ranker, policy}: one row a decision; the newest production row before an hour is in force for it.

Beside production a challenger may be in staging: a lineage of its own, with a row for each of its versions and one for how it ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deltalake.exceptions import CommitFailedError

from pipelines.errors import TransientError, UserError
from pipelines.hours import hours_between
from pipelines.lake.control import append_rows, newest_version, read_rows
from pipelines.registry.gates import Figure
from pipelines.settings import Settings

PRODUCTION, STAGING, REJECTED, ABSTAINED = "production", "staging", "rejected", "abstained"
MAIN = "main"  # the lineage that every hour refreshes
ROLLBACK = "rollback"  # the kind of a move back to what was in production before


@dataclass(frozen=True)
class ReleaseRow:
    """One decision. ``since``: the first hour it holds for; ``compared_with``: the champion then; ``lineage``: MAIN or a challenger's."""

    release_id: str
    hour: str
    versions: Mapping[str, str]
    kind: str
    stage: str
    decided_by: str
    since: str
    decided_at: datetime
    lineage: str = MAIN
    reasons: Sequence[str] = ()
    gates: Sequence[Figure] = ()
    compared_with: str | None = None

    @property
    def on_production(self) -> bool:
        """Whether it says what became of production, and not of a challenger beside it."""
        return self.lineage == MAIN or self.stage == PRODUCTION


class ReleaseRace(TransientError):
    """Production changed between the judgement and the move."""


def all_releases(settings: Settings, version: int | None = None) -> list[ReleaseRow]:
    """Every decision, oldest first; as of a version of the table where one is named."""
    rows = (_row(values) for values in read_rows(settings, "releases", version=version))
    return sorted(rows, key=lambda row: row.release_id)


def production_before(settings: Settings, hour: str) -> ReleaseRow | None:
    """The newest production release decided for an hour before this one."""
    rows = [row for row in all_releases(settings) if row.stage == PRODUCTION and row.since <= hour]
    return rows[-1] if rows else None


def newest_production(settings: Settings) -> ReleaseRow | None:
    """What was moved into production last, whichever hour it is in force from."""
    return next((row for row in reversed(all_releases(settings)) if row.stage == PRODUCTION), None)


def challenger_before(settings: Settings, hour: str | None = None) -> ReleaseRow | None:
    """The newest version of the lineage that is in staging for this hour, or now; None where none is, or where the last one has ended."""
    rows = [row for row in all_releases(settings) if row.lineage != MAIN and (hour is None or row.since <= hour)]
    return rows[-1] if rows and rows[-1].stage == STAGING else None


def displaced_by(settings: Settings, production: ReleaseRow, hour: str, hours: int) -> tuple[ReleaseRow, ReleaseRow] | None:
    """The challenger's win that production goes back to, at most ``hours`` ago, and what it displaced; None after a roll-back."""
    rows = [row for row in all_releases(settings) if row.release_id <= production.release_id]
    last = next((row for row in reversed(rows) if row.stage == PRODUCTION and (row.lineage != MAIN or row.kind == ROLLBACK)), None)
    if last is None or last.kind == ROLLBACK or not 0 <= hours_between(last.since, hour) < hours:
        return None
    return last, next(row for row in rows if row.release_id == last.compared_with)


def lineage_rows(settings: Settings, lineage: str) -> list[ReleaseRow]:
    """All versions of a challenger, oldest first."""
    return [row for row in all_releases(settings) if row.lineage == lineage]


def release_in_force(settings: Settings, hour: str, release_id: str | None = None) -> ReleaseRow:
    """The release for the hour's scoring, or the named one. Raises UserError where there is none."""
    if release_id is not None:
        named = [row for row in all_releases(settings) if row.release_id == release_id]
        if not named:
            raise UserError(f"no release {release_id}; `recloop status` names the newest, the table `releases` holds all")
        return named[0]
    release = production_before(settings, hour)
    if release is None:
        raise UserError(f"no release is in force for {hour}; run `recloop demo`, or `recloop hour` for lake.start_hour, first")
    return release


def release_folder(settings: Settings, release_id: str) -> Path:
    """Where the release's artifacts lie: scoring reads them here and needs no registry."""
    return settings.releases / release_id


def next_release_id(settings: Settings, after: int = 0) -> str:
    """``r000001``, ``r000002``, … one a decision; ``after`` so many more that are to be written together."""
    return f"r{len(all_releases(settings)) + 1 + after:06d}"


def decision_for(settings: Settings, hour: str) -> ReleaseRow | None:
    """What the hour decided about production, if anything."""
    rows = (row for row in all_releases(settings) if row.hour == hour and row.decided_by == "promote_models")
    return next((row for row in rows if row.on_production), None)


def append_decision(settings: Settings, row: ReleaseRow, judged_against: str | None, beside: Sequence[ReleaseRow] = ()) -> None:
    """Appends the decision, and what was decided ``beside`` it on a challenger, in one commit that must follow what was read.

    Raises ReleaseRace where production is another by then.
    """
    version = newest_version(settings, "releases")
    earlier = all_releases(settings, version)
    production = [r for r in earlier if r.stage == PRODUCTION]
    current = production[-1].release_id if production else None
    if current != judged_against:
        raise ReleaseRace(f"production changed from {judged_against} to {current} while {row.release_id} was judged; judge it again")
    new = (row, *beside)
    if {r.release_id for r in earlier} & {r.release_id for r in new}:
        raise ReleaseRace(f"another decision took the name {row.release_id}; judge this one again")
    try:
        append_rows(settings, "releases", [asdict(one) | {"versions": dict(one.versions)} for one in new], onto=version)
    except CommitFailedError:
        raise ReleaseRace(f"another decision landed while {row.release_id} was written; judge it again") from None


def _row(values: dict[str, Any]) -> ReleaseRow:
    gates = [Figure(**gate) for gate in values["gates"] or []]
    return ReleaseRow(**(values | {"gates": gates, "reasons": tuple(values["reasons"] or ())}))
