"""MLflow's aliases follow the table of releases, and are mended from it whatever was killed between the two."""

from pipelines.registry.releases import challenger_before, newest_production
from pipelines.registry.versions import drop_alias, set_aliases
from pipelines.settings import Settings


def follow_releases(settings: Settings) -> None:
    """Points ``production`` at the newest production release, and ``staging`` at the challenger where there is one."""
    if production := newest_production(settings):
        set_aliases(settings, production.versions, "production")
    if challenger := challenger_before(settings):
        set_aliases(settings, challenger.versions, "staging")
    else:
        drop_alias(settings, "staging")
