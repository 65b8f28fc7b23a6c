"""The demo's hours before the live ones: the first release, then a day that it alone recommends, so that gates have evidence."""

from functools import partial

from pipelines.errors import UserError
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.local.in_process import explained, run_steps
from pipelines.local.simulated_users import simulate
from pipelines.local.stages import Stages
from pipelines.registry.releases import all_releases
from pipelines.settings import Settings

LOGGED_HOURS = 24
BLOCK = 4  # hours that users spend with the same scores


def start_hour(settings: Settings) -> str:
    """Raises UserError where the root has none."""
    if settings.lake.start_hour is None:
        raise UserError("lake.start_hour is not set; run `recloop demo-data movielens` first")
    return settings.lake.start_hour


def bootstrap(settings: Settings, stages: Stages) -> bool:
    """The first load, the first release trained on it, and the first scores; False where they were there."""
    from pipelines.steps import build_features, score_users
    from pipelines.steps.hour import LEARNING

    hour = start_hour(settings)
    if is_scored(settings, hour):
        return False
    run_steps(settings, hour, [build_features.run, *LEARNING, score_users.run], stages)
    return True


def play_logged_hours(settings: Settings, stages: Stages, count: int = LOGGED_HOURS) -> None:
    """``count`` hours in blocks, scored at the end of each; the last hour also learns and decides. What is done is left.

    The last hour has scores of its own: who has seen a slate is not shown it again, and a decision wants an hour of many showings.
    """
    from pipelines.steps import build_features, score_users
    from pipelines.steps.hour import LEARNING

    hours = hour_range(shift(start_hour(settings), 1), shift(start_hour(settings), count))
    for block in [*(hours[:-1][first : first + BLOCK] for first in range(0, count - 1, BLOCK)), hours[-1:]]:
        if is_scored(settings, block[-1]):
            continue
        with stages.stage(f"{block[0]} to {block[-1]} users act") as stage:
            played = explained(settings, "simulate", partial(simulate, settings, block))
            stage.ends_with(f"{played.impressions:,} impressions, {played.feedback:,} reactions")
        run_steps(settings, block[-1], [build_features.run, score_users.run], stages)
    if not is_decided(settings, hours[-1]):
        run_steps(settings, hours[-1], LEARNING, stages)


def is_scored(settings: Settings, hour: str) -> bool:
    """Whether this hour or a later one was scored."""
    newest = ledger.newest_hour(settings, "score_users")
    return newest is not None and newest >= hour


def is_decided(settings: Settings, hour: str) -> bool:
    """Whether this hour or a later one has its release decision."""
    return any(row.hour >= hour for row in all_releases(settings))
