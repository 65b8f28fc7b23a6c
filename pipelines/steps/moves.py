"""Releases moved by a person's word: promoted, rejected, rolled back; each is a row that says who did it and why."""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.clock import now
from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.registry.gates import Figure, load_gates, shown_worse
from pipelines.registry.release_files import install, wrong_model
from pipelines.registry.releases import (
    MAIN,
    PRODUCTION,
    REJECTED,
    ROLLBACK,
    STAGING,
    ReleaseRow,
    all_releases,
    append_decision,
    challenger_before,
    newest_production,
    next_release_id,
    release_folder,
)
from pipelines.settings import Settings
from pipelines.steps.candidates import POLICY, RANKER, RANKER_STEP, candidate_folder
from pipelines.steps.encoders import follow_production
from pipelines.steps.step import writer_lock


def promote(settings: Settings, name: str, reason: str, override: bool = False, by: str | None = None) -> ReleaseRow:
    """Moves a decided release into production from the next hour on, whatever its gates lacked.

    name: its id, or the number of its ranker's version. Raises UserError for one that is in production, whose models are gone, or that a
    gate showed to be worse; ``override`` passes over the last, and the row says so. A model that cannot score is never promoted.
    by: who moves it, where it is not the account at work.
    """
    _check_reason(reason)
    with writer_lock(settings, "releases"):
        champion, found = _production(settings), _named(settings, name)
        if found.stage == PRODUCTION and found.versions == champion.versions:
            raise UserError(f"{found.release_id} is in production already")
        shown = _shown_worse(found)
        if shown and not override:
            advice = "--override promotes it all the same, and is recorded"
            raise UserError(f"{found.release_id} was shown to be worse by {', '.join(shown)}; {advice}")
        passed_over = (f"overridden: {', '.join(shown)}",) if shown else ()
        hour = _scored_hour(settings)
        row = ReleaseRow(
            next_release_id(settings), hour, found.versions, found.kind, PRODUCTION, by or _by("promote"), shift(hour, 1),
            now(settings, hour), lineage=found.lineage, reasons=(f"{reason} (promoted {found.release_id})", *passed_over),
            gates=found.gates, compared_with=champion.release_id,
        )  # fmt: skip
        install(release_folder(settings, row.release_id), _models(settings, found), row.release_id)
        append_decision(settings, row, champion.release_id)
    return published(settings, row)


def reject(settings: Settings, name: str, reason: str, by: str | None = None) -> ReleaseRow:
    """Ends the challenger of this lineage or release, or bars a candidate: nothing goes on from it. Production stays as it is.

    Raises UserError for what is in production, which only a roll-back takes out.
    """
    _check_reason(reason)
    with writer_lock(settings, "releases"):
        champion, challenger = _production(settings), challenger_before(settings)
        found = challenger if challenger and challenger.lineage == name else _named(settings, name)
        if found.stage == PRODUCTION:
            raise UserError(f"{found.release_id} is or was in production; `recloop rollback` goes back to what was there before it")
        if found.stage == STAGING and (challenger is None or challenger.lineage != found.lineage):
            raise UserError(f"{found.lineage} is not in staging any more")
        row = replace(
            found, release_id=next_release_id(settings), stage=REJECTED, decided_by=by or _by("reject"),
            decided_at=now(settings, found.hour), since=shift(_scored_hour(settings), 1),
            reasons=(f"{reason} (rejected {found.release_id})",), gates=(), compared_with=champion.release_id,
        )  # fmt: skip
        append_decision(settings, row, champion.release_id)
    return published(settings, row)


def roll_back(settings: Settings, reason: str, to: str | None = None, by: str | None = None) -> ReleaseRow:
    """Puts an earlier release back into production, for the newest scored hour already; its scores are published anew by the caller.

    to: id of a release that was in production; without it the one before. A challenger in staging ends, and the lineage goes on from the
    weights of what is back. Raises UserError where there is none before, or its models are gone.
    """
    _check_reason(reason)
    with writer_lock(settings, "releases"):
        champion, target = roll_back_target(settings, to)
        since = _scored_hour(settings)
        hour = max(since, ledger.newest_hour(settings, RANKER_STEP) or since)  # up to here the lineage learned from what is taken out
        row = ReleaseRow(
            next_release_id(settings), hour, target.versions, ROLLBACK, PRODUCTION, by or _by("rollback"), since, now(settings, hour),
            reasons=(f"{reason} (back to {target.release_id})",), compared_with=champion.release_id,
        )  # fmt: skip
        install(release_folder(settings, row.release_id), _models(settings, target), row.release_id)
        ended = ended_beside(settings, row, f"production was rolled back to {target.release_id}")
        append_decision(settings, row, champion.release_id, ended)
    return row


def roll_back_target(settings: Settings, to: str | None = None) -> tuple[ReleaseRow, ReleaseRow]:
    """What is in production, and what a roll-back would put there. Raises UserError where there is none."""
    champion = _production(settings)
    released = [row for row in all_releases(settings) if row.stage == PRODUCTION]
    if to is None:
        came = original(settings, champion).release_id
        before = [row for row in released if row.release_id < came and row.kind != ROLLBACK and row.versions != champion.versions]
        if not before:
            raise UserError(f"{champion.release_id} holds the models of the first release: there is nothing to go back to")
        return champion, before[-1]
    found = next((row for row in released if row.release_id == to), None)
    if found is None:
        newest = ", ".join(row.release_id for row in released[-5:])
        raise UserError(f"{to} was never in production; `recloop releases` lists what was, the newest: {newest}")
    if found.versions == champion.versions:
        raise UserError(f"{to} is what production is now")
    return champion, found


def original(settings: Settings, row: ReleaseRow) -> ReleaseRow:
    """The row itself; of a roll-back, the row that it put back."""
    rows = (one for one in reversed(all_releases(settings)) if one.stage == PRODUCTION and one.release_id < row.release_id)
    return row if row.kind != ROLLBACK else next(one for one in rows if one.versions == row.versions and one.kind != ROLLBACK)


def ended_beside(settings: Settings, row: ReleaseRow, why: str) -> list[ReleaseRow]:
    """The row that ends the challenger, where there is one, to be written beside ``row`` and after it."""
    challenger = challenger_before(settings)
    if challenger is None:
        return []
    ended = replace(
        challenger, release_id=next_release_id(settings, after=1), hour=row.hour, stage=REJECTED, decided_by=row.decided_by,
        since=row.since, decided_at=row.decided_at, reasons=(f"{challenger.lineage} ended: {why}",), gates=(),
        compared_with=row.compared_with,
    )  # fmt: skip
    return [ended]


def published(settings: Settings, row: ReleaseRow) -> ReleaseRow:
    """``encoder.path``, aliases and tags follow. Raises RegistryDown: then the row stands, and the next hour's decision mends them."""
    from pipelines.registry.aliases import follow_releases, tag_decision

    follow_production(settings)
    follow_releases(settings)
    tag_decision(settings, row)
    return row


def _production(settings: Settings) -> ReleaseRow:
    found = newest_production(settings)
    if found is None:
        raise UserError("there is no production release yet; run the first hours")
    return found


def _scored_hour(settings: Settings) -> str:
    hour = ledger.newest_hour(settings, "score_users")
    if hour is None:
        raise UserError(f"nothing is scored under {settings.home} yet; run the first hours")
    return hour


def _named(settings: Settings, name: str) -> ReleaseRow:
    """By id, or the newest of this ranker version."""
    rows = all_releases(settings)
    found = [row for row in rows if name in (row.release_id, row.versions[RANKER])]
    if not found:
        newest = ", ".join(row.release_id for row in rows[-5:])
        raise UserError(f"no release {name}, and none with ranker version {name}; `recloop releases` lists them, the newest: {newest}")
    return found[-1]


def _models(settings: Settings, row: ReleaseRow) -> Mapping[str, Path]:
    """Where the models of a decided release lie. Raises UserError where they are gone."""
    folder = release_folder(settings, row.release_id)
    if not folder.exists():
        folder = candidate_folder(settings, row.hour)
    models = {kind: folder / kind for kind in (RANKER, POLICY)}
    for kind, path in models.items():
        if wrong := wrong_model(path):
            raise UserError(f"the {kind} of {row.release_id} cannot be used: {wrong}; candidates are kept for three days")
    return models


def _shown_worse(row: ReleaseRow) -> list[str]:
    """Gates by which the release is worse, and not only not known to be as good."""
    gates = load_gates("refresh" if row.lineage == MAIN else "staging")
    failed: Sequence[Figure] = [figure for figure in row.gates if figure.outcome == "fail"]
    return [figure.gate for figure in failed if shown_worse([figure], gates)]


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise UserError("a move by hand needs a reason; give --reason")


def _by(verb: str) -> str:
    return f"recloop {verb}, {getpass.getuser()}"
