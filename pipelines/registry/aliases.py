"""MLflow's aliases and tags follow the table of releases, and are mended from it whatever was killed between the two."""

from collections.abc import Sequence

from pipelines.registry.releases import ReleaseRow, challenger_before, newest_production
from pipelines.registry.versions import drop_alias, set_aliases, tag_version
from pipelines.settings import Settings


def follow_releases(settings: Settings) -> None:
    """Points ``production`` at the newest production release, and ``staging`` at the challenger where there is one."""
    if production := newest_production(settings):
        set_aliases(settings, production.versions, "production")
    if challenger := challenger_before(settings):
        set_aliases(settings, challenger.versions, "staging")
    else:
        drop_alias(settings, "staging")


def tag_decision(settings: Settings, row: ReleaseRow, kinds: Sequence[str] = ("ranker", "policy")) -> None:
    """Tells on each version what was decided and why."""
    tags = {"decision": row.stage, "release_id": row.release_id, "reasons": "; ".join(row.reasons)}
    for kind in kinds:
        tag_version(settings, kind, row.versions[kind], tags)
