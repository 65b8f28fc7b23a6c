"""A root whose first ranker begins with what another root's production learned: kept in ``transfer/`` until the bootstrap takes it."""

import json
import shutil
import tempfile
from pathlib import Path

from pipelines.errors import UserError
from pipelines.registry.releases import PRODUCTION, all_releases, release_folder
from pipelines.settings import Settings, load_settings
from pipelines.steps.candidates import RANKER
from pipelines.steps.encoders import encoder_spec

_FROM = "from.json"


def transfer_folder(settings: Settings) -> Path:
    """Holds ``ranker`` where something was taken over."""
    return settings.home / "transfer"


def transferred_from(settings: Settings) -> str:
    """Release and domain whose ranker this root began with; "" for none."""
    path = transfer_folder(settings) / _FROM
    return "{release} of {domain}".format(**json.loads(path.read_text())) if path.exists() else ""


def take_over(settings: Settings, source_home: Path) -> str:
    """Copies the ranker in production under ``source_home``, all or nothing; says what was taken.

    Raises UserError where this root has a release already, the other one has none, or their encoders or the rankers' sizes differ.
    """
    if own := all_releases(settings):
        raise UserError(f"{settings.home} has releases already ({own[-1].release_id}); transfer comes before a root's first hour")
    source = load_settings(source_home, {})
    releases = [row for row in all_releases(source) if row.stage == PRODUCTION]
    if not releases:
        raise UserError(f"no release is in production under {source.home}; give the root of a loop that has run")
    ranker = release_folder(source, releases[-1].release_id) / RANKER
    _check_alike(settings, json.loads((ranker / "config.json").read_text()))
    settings.home.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".transfer-", dir=settings.home))
    try:
        shutil.copytree(ranker, scratch / "new" / RANKER)
        (scratch / "new" / _FROM).write_text(json.dumps({"release": releases[-1].release_id, "domain": source.domain}))
        if transfer_folder(settings).exists():
            transfer_folder(settings).rename(scratch / "old")
        (scratch / "new").rename(transfer_folder(settings))
    finally:
        shutil.rmtree(scratch)
    return transferred_from(settings)


def _check_alike(settings: Settings, config: dict) -> None:
    spec = encoder_spec(settings)
    if config["encoder_version"] != spec.version:
        raise UserError(
            f"the other root's ranker reads vectors of encoder {config['encoder_version']}, this root encodes with {spec.version} "
            f"({spec.path}); name its encoder as encoder.path in recloop.yaml"
        )
    for name in ("dim", "hidden"):
        own = getattr(settings.ranker, name)
        if config[name] != own:
            raise UserError(f"the other root's ranker has {name} {config[name]}, this root's {own}; set ranker.{name}: {config[name]}")
