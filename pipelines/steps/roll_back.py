"""The way back: an earlier release in production again, and the scored table as its own slates had it, within a minute."""

from dataclasses import replace

from pipelines.lake import ledger
from pipelines.lake.session import spark_session
from pipelines.registry.client import RegistryDown
from pipelines.registry.releases import PRODUCTION, ROLLBACK, ReleaseRow, all_releases, newest_production
from pipelines.settings import Settings
from pipelines.steps.moves import original, published, roll_back
from pipelines.steps.score_users import REPUBLISH, republish_releases
from pipelines.steps.score_users import STEP as SCORE
from pipelines.steps.step import attempt, writer_lock


def run(settings: Settings, reason: str, to: str | None = None) -> ReleaseRow:
    """Moves production back, then publishes the slates that were drawn before what is taken out; run again, it ends what was cut off.

    Where MLflow is away, its aliases follow with the next hour's decision, and the row that comes back says so. Raises UserError as
    ``moves.roll_back`` does.
    """
    row = _unfinished(settings, to) or roll_back(settings, reason, to)
    _publish(settings, row)
    try:
        return published(settings, row)
    except RegistryDown as away:
        return replace(row, reasons=(*row.reasons, f"aliases follow with the next hour's decision, since {away}"))


def finish(settings: Settings) -> None:
    """Publishes the scores of a roll-back that an hour's decision made; nothing to do where an hour was drawn since."""
    if (row := _unfinished(settings)) is not None:
        _publish(settings, row)


def _publish(settings: Settings, row: ReleaseRow) -> None:
    with writer_lock(settings, "spark"):
        hour = ledger.newest_hour(settings, SCORE) or row.hour
        with attempt(settings, REPUBLISH, [hour]) as current, spark_session(settings) as spark:
            current.values["release_id"] = row.release_id
            republish_releases(spark, current, _drew_before(settings, row))


def _unfinished(settings: Settings, to: str | None = None) -> ReleaseRow | None:
    """A roll-back whose scores were not published yet, and since which no hour was drawn."""
    newest = newest_production(settings)
    if newest is None or newest.kind != ROLLBACK or to not in (None, newest.release_id, original(settings, newest).release_id):
        return None
    done = any(row.status == "done" and row.release_id == newest.release_id for row in ledger.rows(settings, REPUBLISH))
    drawn = ledger.newest_hour(settings, SCORE)
    return None if done or (drawn is not None and drawn > newest.hour) else newest


def _drew_before(settings: Settings, row: ReleaseRow) -> list[str]:
    """Releases up to the one that is back, that were in production; not those of challengers."""
    until = original(settings, row).release_id
    return [one.release_id for one in all_releases(settings) if one.stage == PRODUCTION and one.release_id <= until]
