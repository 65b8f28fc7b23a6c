"""What scoring needs of a release: its folder with both models, and its versions in MLflow."""

from collections.abc import Sequence

from pipelines.lake.verify.findings import Findings
from pipelines.registry.client import RegistryDown
from pipelines.registry.flavors import KINDS
from pipelines.registry.release_files import MODELS, wrong_model
from pipelines.registry.releases import PRODUCTION, ReleaseRow, all_releases, challenger_before, release_folder
from pipelines.registry.versions import versions
from pipelines.settings import Settings


def check_releases(found: Findings, settings: Settings) -> None:
    """Every release that is or was in force, and what is in staging, can be loaded; all versions are registered, where MLflow answers."""
    rows, challenger = all_releases(settings), challenger_before(settings)
    for row in rows:
        if row.stage == PRODUCTION or (challenger is not None and row.release_id == challenger.release_id):
            _check_folder(found, settings, row)
    try:
        _check_versions(found, settings, rows)
    except RegistryDown as error:
        found.not_checked.append(f"versions of releases in MLflow: {error}")


def _check_folder(found: Findings, settings: Settings, row: ReleaseRow) -> None:
    for model in MODELS:
        folder = release_folder(settings, row.release_id) / model
        if wrong := wrong_model(folder):
            advice = f"copy the artifacts of {model} version {row.versions[model]} out of MLflow into {folder}"
            found.add("release", "releases", f"release {row.release_id}, {model}", wrong, "a model that scoring can load", advice)


def _check_versions(found: Findings, settings: Settings, rows: Sequence[ReleaseRow]) -> None:
    held = {kind: {version.number for version in versions(settings, kind)} for kind in KINDS} if rows else {}
    for kind, numbers in held.items():
        for row in rows:
            if row.versions[kind] not in numbers:
                where = f"release {row.release_id}, {kind}"
                advice = "nothing for scoring, which reads the release's folder; the version cannot be reviewed or put back any more"
                found.add("release", "releases", where, f"no version {row.versions[kind]} in MLflow", "a registered version", advice)
