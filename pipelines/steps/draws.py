"""What an hour's slates are drawn by: releases of arms, business rules, and what a worker needs to draw with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.hours import end_of, hour_number
from pipelines.registry.releases import ReleaseRow, release_folder
from pipelines.registry.staging import GUARD, load_rules
from pipelines.settings import Settings
from pipelines.steps.hard_stop import replacement
from pipelines.steps.step import Attempt
from spark_jobs.arms import CHALLENGER_ARM, PREDECESSOR_ARM, PRODUCTION_ARM

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from spark_jobs.business_rules import BusinessRules
    from spark_jobs.release import DrawRules
    from spark_jobs.scoring import Arm, ScoringSpec


@dataclass(frozen=True)
class Draws:
    """What the hour's slates are drawn by: the releases of its arms, the first production's, and the business rules.

    predecessor: what a challenger displaced lately; it keeps its share, and the others share what is left.
    """

    production: ReleaseRow
    challenger: ReleaseRow | None
    predecessor: ReleaseRow | None
    business: "BusinessRules"

    @property
    def salt(self) -> str:
        """By what users fall into arms."""
        return self.challenger.lineage if self.challenger else ""

    @property
    def arms(self) -> list[tuple[str, float, ReleaseRow]]:
        """Name, share of the users, release."""
        rules, left = load_rules(), 1.0
        found = []
        if self.predecessor:
            left -= rules[GUARD].share
            found.append((PREDECESSOR_ARM, rules[GUARD].share, self.predecessor))
        if self.challenger:
            found.insert(0, (CHALLENGER_ARM, left * rules[self.challenger.kind].share, self.challenger))
        return [(PRODUCTION_ARM, 1.0 - sum(share for _, share, _ in found), self.production), *found]

    def release(self, arm: str) -> ReleaseRow:
        return next(row for name, _, row in self.arms if name == arm)

    def without(self, settings: Settings, arm: str) -> "Draws":
        """The same, with what was there before in place of production, or without the arm. Raises UserError where nothing was before."""
        if arm == PRODUCTION_ARM:
            return replace(self, production=replacement(settings, self.production), challenger=None, predecessor=None)
        return replace(self, challenger=None) if arm == CHALLENGER_ARM else replace(self, predecessor=None)


def scoring_arms(settings: Settings, hour: str, draws: Draws, versions: dict[str, int]) -> "list[Arm]":
    """What a worker needs to draw the hour's slates with the releases of its arms."""
    from spark_jobs.scoring import Arm

    return [Arm(name, share, scoring_spec(settings, hour, row, versions, draws.business)) for name, share, row in draws.arms]


def scoring_spec(
    settings: Settings, hour: str, release: ReleaseRow, versions: dict[str, int], business: "BusinessRules"
) -> "ScoringSpec":
    """What a worker needs to draw the hour's slates with this release."""
    from spark_jobs.scoring import ScoringSpec

    rewards = tuple(term.weight for term in settings.reward.terms)
    folder = str(release_folder(settings, release.release_id))
    pinned = tuple(sorted(versions.items()))
    return ScoringSpec(str(settings.warehouse), pinned, folder, release.release_id, rewards, draw_rules(settings, hour, business))


def draw_rules(settings: Settings, hour: str, business: "BusinessRules") -> "DrawRules":
    """The hour's rules: sizes by the settings, and these business rules."""
    from spark_jobs.release import DrawRules

    slates = settings.slates
    return DrawRules(
        at=end_of(hour), hour_number=hour_number(hour), seed=settings.seed, size=slates.size, retrieved=slates.retrieved,
        candidates=slates.candidates, explore_share=slates.explore_share, seen_days=slates.seen_days, fresh_hours=slates.fresh_hours,
        business=business,
    )  # fmt: skip


def with_decision(drawn: "DataFrame", current: Attempt, draws: Draws) -> "DataFrame":
    from pyspark.sql import functions as F

    from spark_jobs.drawing import RULES

    settings = current.settings
    pinned = [F.struct(F.lit(t).alias("table"), F.lit(v).cast("long").alias("version")) for t, v in sorted(current.inputs.items())]
    return drawn.withColumns({
        "surface": F.lit(settings.slates.surface), "hour": F.lit(current.hours[0]), "rules": F.lit(f"{RULES} {draws.business.version}"),
        "seed": F.lit(settings.seed), "feature_versions": F.array(*pinned),
        "arm_share": _by_arm(draws.arms, lambda share, _: F.lit(share)),
        "release_id": _by_arm(draws.arms, lambda _, row: F.lit(row.release_id)), "versions": _by_arm(draws.arms, _versions),
    })  # fmt: skip


def _by_arm(arms: "Sequence[tuple[str, float, ReleaseRow]]", value: "Callable[[float, ReleaseRow], Column]") -> "Column":
    from pyspark.sql import functions as F

    found = value(*arms[0][1:])
    for name, share, row in arms[1:]:
        found = F.when(F.col("arm") == name, value(share, row)).otherwise(found)
    return found


def _versions(_: float, row: ReleaseRow) -> "Column":
    from pyspark.sql import functions as F

    return F.struct(*[F.lit(row.versions[name]).alias(name) for name in ("encoder", "ranker", "policy")])
