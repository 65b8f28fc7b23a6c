"""The release of an adapted encoder together with the ranker fitted to it, and the way back: by a person's word, from the next hour on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.clock import now
from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.registry.release_files import install
from pipelines.registry.releases import PRODUCTION, ReleaseRow, all_releases, append_decision, next_release_id, release_folder
from pipelines.settings import Settings
from pipelines.steps.adapted_encoders import ENCODER, adapted_folder, note_before, noted_before, read_report
from pipelines.steps.candidates import POLICY, RANKER
from pipelines.steps.encoders import name_encoder
from pipelines.steps.step import writer_lock

STEP = "use_encoder"


@dataclass(frozen=True)
class _Chosen:
    """What is to be released: registered versions, where the encoder lies (None: the packaged one), the folders of the models, why."""

    versions: Mapping[str, str]
    encoder_path: str | None
    ranker: Path
    policy: Path
    reasons: Sequence[str]


def run(settings: Settings, encoder_version: str) -> ReleaseRow:
    """Names the encoder in ``recloop.yaml`` and releases it with its ranker and production's policy; run again, it ends what was cut off.

    Raises UserError for an encoder that is not finished, and while an hour is at work.
    """
    report, folder = read_report(settings, encoder_version), adapted_folder(settings, encoder_version)
    with writer_lock(settings, "spark"), writer_lock(settings, "gpu"), writer_lock(settings, "releases"):
        champion = _champion(settings)
        reasons = (f"chosen by hand: encoder {encoder_version}, by {report.method} at {report.hour}", *report.gains)
        policy = release_folder(settings, champion.release_id) / POLICY
        versions = {POLICY: champion.versions[POLICY], **report.versions}
        chosen = _Chosen(versions, str(folder / ENCODER), folder / RANKER, policy, reasons)
        if champion.versions[ENCODER] == versions[ENCODER]:
            return _published(settings, champion, chosen.encoder_path)
        hour = _finished_hour(settings)
        note_before(settings, encoder_version, champion.release_id)
        return _release(settings, champion, chosen, hour)


def back(settings: Settings) -> ReleaseRow:
    """Releases again what was in production before the encoder at work was chosen: encoder, ranker and policy.

    Raises UserError where none was chosen, and while an hour is at work.
    """
    with writer_lock(settings, "spark"), writer_lock(settings, "gpu"), writer_lock(settings, "releases"):
        champion, path = _champion(settings), settings.encoder.path
        before = noted_before(Path(path).parent) if path else None
        if before is None:
            raise UserError(f"encoder.path {path} was not chosen by `recloop use-encoder`: there is nothing to go back to")
        earlier = next(row for row in all_releases(settings) if row.release_id == before.release_id)
        folder = release_folder(settings, earlier.release_id)
        reasons = (f"back by hand to the models of {earlier.release_id}",)
        chosen = _Chosen(earlier.versions, before.path, folder / RANKER, folder / POLICY, reasons)
        if champion.versions[ENCODER] == earlier.versions[ENCODER]:
            return _published(settings, champion, chosen.encoder_path)
        return _release(settings, champion, chosen, _finished_hour(settings))


def _release(settings: Settings, champion: ReleaseRow, chosen: _Chosen, hour: str) -> ReleaseRow:
    """The settings first: until the row stands, the next hour's vectors are made and its learning says what is missing."""
    name_encoder(settings, chosen.encoder_path)
    row = ReleaseRow(
        release_id=next_release_id(settings), hour=hour, versions=dict(chosen.versions), kind="change", stage=PRODUCTION, decided_by=STEP,
        since=shift(hour, 1), decided_at=now(settings, hour), compared_with=champion.release_id, reasons=chosen.reasons,
    )  # fmt: skip
    install(release_folder(settings, row.release_id), {RANKER: chosen.ranker, POLICY: chosen.policy}, row.release_id)
    append_decision(settings, row, champion.release_id)
    return _published(settings, row, chosen.encoder_path)


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


def _published(settings: Settings, row: ReleaseRow, encoder_path: str | None) -> ReleaseRow:
    from pipelines.registry.aliases import follow_releases, tag_decision

    name_encoder(settings, encoder_path)
    follow_releases(settings)
    tag_decision(settings, row, (ENCODER, RANKER))
    return row
