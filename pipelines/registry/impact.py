"""What an hour went into: models that learned from it, slates drawn from its counters, releases that hold those models."""

from dataclasses import dataclass

from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.holds import holds
from pipelines.registry.releases import all_releases
from pipelines.settings import Settings


@dataclass(frozen=True)
class Impact:
    """``learned``: fine-tunings of the hour, then those that went on from it, and full retrains.

    ``judged``: refreshes whose log holds it.
    """

    hour: str
    records: int
    learned: list[str]
    judged: list[str]
    slates: list[str]
    releases: list[str]
    poisoned: str | None


def impact(settings: Settings, hour: str) -> Impact:
    """By ledger and releases. Raises UserError for an hour that was never ingested."""
    taken = ledger.last_done(settings, "ingest", hour)
    if taken is None:
        raise UserError(f"hour {hour} was never ingested; `recloop status` shows the newest hours")
    last_log = shift(hour, settings.policy.log_h - 1)
    return Impact(
        hour=hour, records=taken.rows_out or 0,
        learned=[*_done(settings, "finetune_ranker", hour), *[f"full retrain of {end}" for end in _done(settings, "retrain_ranker", hour)]],
        judged=[found for found in _done(settings, "refresh_policy", hour) if found <= last_log],
        slates=_done(settings, "score_users", hour),
        releases=[f"{row.release_id} {row.stage} of {row.hour}" for row in all_releases(settings) if row.hour >= hour],
        poisoned=holds(settings, "poison").get(hour),
    )  # fmt: skip


def _done(settings: Settings, step: str, first: str) -> list[str]:
    return sorted({row.hour for row in ledger.rows(settings, step) if row.status == "done" and row.hour >= first})
