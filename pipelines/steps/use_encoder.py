"""The release of an adapted encoder together with the ranker fitted to it: by a person's word, from the next hour on."""

import shutil
from pathlib import Path

import yaml

from pipelines.clock import now
from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.local.landing import write_file
from pipelines.registry.release_files import check_models
from pipelines.registry.releases import PRODUCTION, ReleaseRow, all_releases, append_decision, next_release_id, release_folder
from pipelines.settings import Settings, load_settings
from pipelines.steps.adapted_encoders import ENCODER, AdaptedReport, adapted_folder, read_report
from pipelines.steps.candidates import POLICY, RANKER
from pipelines.steps.step import writer_lock

STEP = "use_encoder"


def run(settings: Settings, encoder_version: str) -> ReleaseRow:
    """Names the encoder in ``recloop.yaml`` and releases it with its ranker and production's policy; run again, it ends what was cut off.

    Raises UserError for an encoder that is not finished, and while an hour is at work.
    """
    report = read_report(settings, encoder_version)
    with writer_lock(settings, "spark"), writer_lock(settings, "gpu"), writer_lock(settings, "releases"):
        champion = _champion(settings)
        released = champion.versions[ENCODER] == report.versions[ENCODER]
        row = champion if released else _row(settings, report, champion, _finished_hour(settings))
        name_encoder(settings, adapted_folder(settings, encoder_version) / ENCODER)
        if not released:
            _copy_artifacts(settings, row, champion, report)
            append_decision(settings, row, champion.release_id)
        _publish(settings, row)
    return row


def name_encoder(settings: Settings, path: Path) -> None:
    """Writes ``encoder.path`` of ``recloop.yaml``. Raises UserError where the environment says otherwise."""
    file = settings.home / "recloop.yaml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    own = yaml.safe_load(text) or {}
    if (own.get("encoder") or {}).get("path") != str(path):
        if "encoder" in own:
            own["encoder"] = (own["encoder"] or {}) | {"path": str(path)}
            text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
        else:  # a person's comments stay
            text = f"{text.rstrip()}\n{yaml.safe_dump({'encoder': {'path': str(path)}})}".lstrip()
        write_file(file, text.encode())
    found = load_settings(settings.home).encoder.path
    if found != str(path):
        raise UserError(f"RECLOOP__ENCODER__PATH names {found}, {file} names {path}; unset the variable and run this again")


def _champion(settings: Settings) -> ReleaseRow:
    released = [row for row in all_releases(settings) if row.stage == PRODUCTION]
    if not released:
        raise UserError("there is no production release yet, whose policy an adapted encoder could go with; run the first hours")
    return released[-1]


def _finished_hour(settings: Settings) -> str:
    """The newest hour. Raises UserError while a step of it is missing: its models would be judged against another production."""
    hour = ledger.newest_hour(settings, "build_features")
    missing = [step for step in ("score_users", "promote_models") if ledger.newest_hour(settings, step) != hour]
    if hour is None or missing:
        raise UserError(f"hour {hour} has no finished {' and no '.join(missing)}; let it end, or run `recloop hour {hour}`, then release")
    return hour


def _row(settings: Settings, report: AdaptedReport, champion: ReleaseRow, hour: str) -> ReleaseRow:
    return ReleaseRow(
        release_id=next_release_id(settings), hour=hour, versions=dict(champion.versions) | report.versions, kind="change",
        stage=PRODUCTION, decided_by=STEP, since=shift(hour, 1), decided_at=now(settings, hour), compared_with=champion.release_id,
        reasons=(f"chosen by hand: encoder {report.encoder_version}, by {report.method} at {report.hour}", *report.gains),
    )  # fmt: skip


def _copy_artifacts(settings: Settings, row: ReleaseRow, champion: ReleaseRow, report: AdaptedReport) -> None:
    target = release_folder(settings, row.release_id)
    scratch = target.with_name(f".{target.name}")
    for folder in (scratch, target):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(adapted_folder(settings, report.encoder_version) / RANKER, scratch / RANKER)
    shutil.copytree(release_folder(settings, champion.release_id) / POLICY, scratch / POLICY)
    check_models(scratch, row.release_id)
    scratch.rename(target)


def _publish(settings: Settings, row: ReleaseRow) -> None:
    from pipelines.registry.versions import set_aliases, tag_version

    set_aliases(settings, row.versions, "production")
    tags = {"decision": row.stage, "release_id": row.release_id, "reasons": "; ".join(row.reasons)}
    for kind in (ENCODER, RANKER):
        tag_version(settings, kind, row.versions[kind], tags)
