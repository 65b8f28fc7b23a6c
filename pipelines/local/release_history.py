"""What was in production when, and how it came there: read from the table of releases alone."""

from collections.abc import Sequence

from pipelines.errors import UserError
from pipelines.hours import parse_hour
from pipelines.lake import ledger
from pipelines.registry.releases import ReleaseRow, all_releases, challenger_before, production_before
from pipelines.settings import Settings


def newest_rows(settings: Settings, count: int) -> Sequence[ReleaseRow]:
    """Decisions and moves, the newest first."""
    return all_releases(settings)[::-1][:count]


def in_force_at(settings: Settings, hour: str) -> Sequence[ReleaseRow]:
    """What drew the hour's slates: production, and the challenger where one was in staging; of an hour to come, what would.

    Raises UserError for what is no hour, and one before the first release.
    """
    parse_hour(hour)
    drawn = ledger.last_done(settings, "score_users", hour)
    by_id = {row.release_id: row for row in all_releases(settings)}
    if drawn is not None and drawn.release_id in by_id:
        frozen = ledger.frozen(settings, "score_users", hour)
        named = [drawn.release_id, frozen.challenger_id if frozen else None]
        return [by_id[name] for name in named if name in by_id]
    found = [row for row in (production_before(settings, hour), challenger_before(settings, hour)) if row is not None]
    if not found:
        raise UserError(f"nothing was in production for {hour}; `recloop releases` lists what was, and from when on")
    return found
