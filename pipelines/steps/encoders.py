"""Which encoders are at work: that of the settings, and those whose vectors a release reads that draws, learns or may come back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import yaml

from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.local.landing import write_file
from pipelines.registry.releases import PRODUCTION, ReleaseRow, all_releases, challenger_before, release_folder
from pipelines.settings import Settings, load_settings
from pipelines.steps.adapted_encoders import ENCODER, adapted_folder, paths_before
from pipelines.steps.candidates import RANKER

if TYPE_CHECKING:
    from spark_jobs.embeddings import EncoderSpec

log = structlog.get_logger()
BACK_H = 24  # hours after which a release that left production is not encoded for any more: a roll-back to it encodes what is missing


def encoder_spec(settings: Settings) -> "EncoderSpec":
    """The encoder that the settings name; the packaged MiniLM where they name none."""
    return _spec(settings, settings.encoder.path)


def spec_of(settings: Settings, version: str) -> "EncoderSpec":
    """The encoder of this version: the settings' own, an adapted one, or one that was at work before. Raises UserError for another."""
    adapted = adapted_folder(settings, version) / ENCODER
    paths = [str(adapted)] if adapted.exists() else [settings.encoder.path, None, *paths_before(settings)]
    found = next((spec for spec in (_spec(settings, path) for path in dict.fromkeys(paths)) if spec.version == version), None)
    if found is None:
        raise UserError(f"no encoder {version} under {settings.home / 'encoders'}, and encoder.path names another; put its folder back")
    return found


def specs_at_work(settings: Settings, hour: str) -> "dict[str, EncoderSpec]":
    """By version the settings' own first, then those that rankers in production, in staging, or in production lately read.

    One that is not at hand any more is left out, with a warning: the tables go on without its vectors.
    """
    own = encoder_spec(settings)
    found = {own.version: own}
    for version in _read_versions(settings, hour):
        if version in found:
            continue
        try:
            found[version] = spec_of(settings, version)
        except UserError as gone:
            log.warning("encoder", version=version, left_out=str(gone))
    return found


def read_version(ranker: Path) -> str:
    """Version of the encoder whose vectors the ranker in this folder reads."""
    return str(json.loads((ranker / "config.json").read_text())["encoder_version"])


def follow_production(settings: Settings) -> None:
    """Names the encoder that production reads in ``recloop.yaml``, after a move that changed it.

    Raises UserError where the environment says otherwise.
    """
    rows = {row.release_id: row for row in all_releases(settings)}
    newest = next((row for row in reversed(rows.values()) if row.stage == PRODUCTION), None)
    before = rows.get(newest.compared_with or "") if newest else None
    if newest is None or before is None or newest.versions[ENCODER] == before.versions[ENCODER]:
        return
    version = read_version(release_folder(settings, newest.release_id) / RANKER)
    if version != encoder_spec(settings).version:
        path = spec_of(settings, version).path
        name_encoder(settings, None if path == _spec(settings, None).path else path)


def name_encoder(settings: Settings, path: str | None) -> None:
    """Writes ``encoder.path`` of ``recloop.yaml``. Raises UserError where the environment says otherwise."""
    file = settings.home / "recloop.yaml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    own = yaml.safe_load(text) or {}
    if (own.get("encoder") or {}).get("path") != path:
        if "encoder" in own:
            own["encoder"] = (own["encoder"] or {}) | {"path": path}
            text = yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
        else:  # a person's comments stay
            text = f"{text.rstrip()}\n{yaml.safe_dump({'encoder': {'path': path}})}".lstrip()
        write_file(file, text.encode())
    found = load_settings(settings.home).encoder.path
    if found != path:
        raise UserError(f"RECLOOP__ENCODER__PATH names {found}, {file} names {path}; unset the variable and run this again")


def _spec(settings: Settings, path: str | None) -> "EncoderSpec":
    from models.encoder_files import default_encoder_path
    from spark_jobs.embeddings import EncoderSpec

    return EncoderSpec(path or default_encoder_path(), settings.encoder.pooling, settings.encoder.max_tokens)


def _read_versions(settings: Settings, hour: str) -> Iterator[str]:
    from pipelines.steps.challengers import waiting

    challenger, own = challenger_before(settings), waiting(settings)
    for row in (*_lately(settings, hour), *([challenger] if challenger else [])):
        if (ranker := release_folder(settings, row.release_id) / RANKER).exists():
            yield read_version(ranker)
    if own is not None and own.encoder_version is not None:
        yield own.encoder_version


def _lately(settings: Settings, hour: str) -> list[ReleaseRow]:
    """In production now, or until BACK_H hours ago."""
    rows = [row for row in all_releases(settings) if row.stage == PRODUCTION]
    return [row for row, later in zip(rows, [*rows[1:], None], strict=False) if later is None or later.since > shift(hour, -BACK_H)]
