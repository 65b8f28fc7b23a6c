"""The simulated users: they are shown the scored slates as by any downstream job, and what they do lands as events."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.hours import hour_range, hours_between, parse_hour, shift
from pipelines.local.events import RATING_DELAY_H, impression_records, react
from pipelines.local.landing import Record, pack, unpack, write_once
from pipelines.local.showing import CurrentSlates, read_slates, show
from pipelines.local.visitors import visitors
from pipelines.local.world import World
from pipelines.settings import Settings


@dataclass(frozen=True)
class PlayedHour:
    """Counts of one hour; ``already`` where its landing files were there and nothing was written."""

    hour: str
    users: int = 0
    impressions: int = 0
    feedback: int = 0
    new_items: int = 0
    already: bool = False


@dataclass(frozen=True)
class SimulationReport:
    hours: tuple[PlayedHour, ...]

    @property
    def impressions(self) -> int:
        return sum(hour.impressions for hour in self.hours)

    @property
    def feedback(self) -> int:
        return sum(hour.feedback for hour in self.hours)


def simulate(settings: Settings, hours: Sequence[str]) -> SimulationReport:
    """Plays these hours with the scores as they are now, and writes their landing files; an hour is played once.

    Raises UserError where there is no world or no scores, or where an hour lies before what was scored or played.
    """
    world = World.load(settings.truth)
    missing = [hour for hour in hours if not _impressions_file(settings, hour).exists()]
    slates = read_slates(settings) if missing else None
    played = []
    for hour in hours:
        if slates is None or hour not in missing:
            played.append(PlayedHour(hour, already=True))
        else:
            _check_order(settings, world, slates, hour)
            played.append(play_hour(settings, world, slates, hour))
    return SimulationReport(tuple(played))


def play_hour(settings: Settings, world: World, slates: CurrentSlates, hour: str) -> PlayedHour:
    """Writes the hour's files, impressions last: their file says that the hour was played.

    Who comes back while the scores are the same has seen the slate, and is not shown it again.
    """
    have_seen = {user for before in hour_range(shift(slates.newest_hour, 1), shift(hour, -1)) for user in _shown_to(settings, before)}
    shown = show(world, slates, [user for user in visitors(world, hour) if user not in have_seen], hour)
    reactions = react(world, shown, hour)
    now = [record for record in reactions if record["ts"].startswith(hour)]
    later = [record for record in reactions if not record["ts"].startswith(hour)]
    arriving = [record for record in _pending(settings, hour) if record["ts"].startswith(hour)]
    feedback = sorted(now + arriving, key=lambda record: (record["ts"], record["event_id"]))
    items = [record for record in unpack(settings.truth / "withheld.jsonl.gz") if record["published_at"].startswith(hour)]
    impressions = impression_records(shown, settings.slates.surface)
    write_once(settings.truth / "pending" / f"{hour}.jsonl.gz", pack(later))
    if items:
        write_once(settings.landing / "items" / f"{hour}.jsonl.gz", pack(items))
    write_once(settings.landing / "feedback" / f"{hour}.jsonl.gz", pack(feedback))
    write_once(_impressions_file(settings, hour), pack(impressions))
    return PlayedHour(hour, len(set(shown.request_ids)), len(impressions), len(feedback), len(items))


def _shown_to(settings: Settings, hour: str) -> set[str]:
    """Users to whom the hour showed anything."""
    path = _impressions_file(settings, hour)
    return {record["user_id"] for record in unpack(path)} if path.exists() else set()


def _pending(settings: Settings, hour: str) -> list[Record]:
    """Reactions to what the last hours showed that were still to come."""
    files = [settings.truth / "pending" / f"{shift(hour, -age)}.jsonl.gz" for age in range(RATING_DELAY_H, 0, -1)]
    return [record for path in files if path.exists() for record in unpack(path)]


def _impressions_file(settings: Settings, hour: str) -> Path:
    return settings.landing / "impressions" / f"{hour}.jsonl.gz"


def _check_order(settings: Settings, world: World, slates: CurrentSlates, hour: str) -> None:
    parse_hour(hour)
    newest = max(world.start_hour, slates.newest_hour)
    played = [path.name.removesuffix(".jsonl.gz") for path in (settings.landing / "impressions").glob("????-??-??T??.jsonl.gz")]
    newest = max([newest, *played])
    if hours_between(newest, hour) < 1:
        raise UserError(f"hour {hour} cannot be played: {newest} was already scored or played; play {shift(newest, 1)} or later")
