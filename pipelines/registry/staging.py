"""Staging: what users of both arms did in, hour by hour, and whether it ends a challenger's time. Pure: it reads no table.

A *trial* is the main lineage's whole update, where the log of what production showed can judge a part of it only; a *change* is another
recipe; *same* is production's recipe with another seed, which staging must not tell from it. The evidence belongs to the lineage, whose
versions are refreshed every hour as production's are.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from models.sequential import HourlyArms, Interval, confidence_sequence, error_share, sample_ratio_p, standard_error, users_needed
from pipelines.errors import UserError
from pipelines.registry.gates import POLICY_FILE, Figure

TRIAL, CHANGE, SAME = "trial", "change", "same"
GUARD = "guard"  # the rule by which what a challenger displaced watches it
IN_STAGING = " in staging"
VALUE, HOURS, RATIO = f"value{IN_STAGING}", f"hours{IN_STAGING}", "sample ratio"
ERRORS = 3.0  # standard errors that a reaction's margin has at least: chance alone holds one challenger of a thousand back
Ending = Literal["won", "lost", "futile", "invalid"]


@dataclass(frozen=True)
class StagingRule:
    """How a kind of challenger is judged.

    share: of users who are shown it, drawn anew every hour. alpha: chance that none of its hours' intervals holds the truth; of a kind
    whose ``budget`` is shared, of all its challengers together. planned: users an arm at which the interval is tightest.
    bound: above it, as a share of production's reward, the interval must lie. harm: a mean below it ends the challenger once it had
    ``least_users`` an arm. margin: how much less of any single reaction it may bring, as a share of production's, or ERRORS standard errors
    where these are more. futile_h: hours after which it ends undecided; rest_h: hours after that until the next trial may begin.
    begins_below: the served share of an update below which its whole goes on trial.
    """

    share: float
    alpha: float
    budget: bool
    planned: int
    bound: float
    least_hours: int
    least_users: int
    harm: float
    ratio_p: float
    futile_h: int
    rest_h: int
    margin: float = 0.1
    begins_below: float = 0.0

    def level(self, number: int) -> float:
        """What the ``number``-th challenger of its kind may err."""
        return error_share(number, self.alpha) if self.budget else self.alpha


@dataclass(frozen=True)
class Evidence:
    """What is known of a challenger: rewards of users by hour and arm, and how long it has been shown.

    tasks: of each reaction that is rewarded, how much of it users gave in the same hours; of one that counts against, less than none.
    """

    hours: Sequence[str]
    arms: HourlyArms
    age_h: int
    tasks: Mapping[str, HourlyArms] = field(default_factory=dict)

    @property
    def users(self) -> int:
        """In the smaller arm."""
        return int(self.arms.count.sum(axis=0).min()) if len(self.hours) else 0

    @property
    def level(self) -> float:
        """Production's mean reward of a user's hour, over the hours."""
        return _level(self.arms)


@dataclass(frozen=True)
class StagingDecision:
    """``ending``: None while it goes on. ``lift``: challenger less production as a share of production's reward."""

    ending: Ending | None
    reason: str
    lift: Interval
    figures: tuple[Figure, ...]

    @property
    def measured(self) -> bool:
        return math.isfinite(self.lift.low)


def load_rules(path: Path = POLICY_FILE) -> Mapping[str, StagingRule]:
    """By kind of challenger, from the promotion policy. Raises UserError for rules that cannot judge."""
    try:
        rules = {kind: StagingRule(**row) for kind, row in yaml.safe_load(path.read_text(encoding="utf-8"))["staging"].items()}
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        names = ", ".join(StagingRule.__annotations__)
        found = " ".join(str(error).split())
        raise UserError(f"{path}: no rules of staging ({type(error).__name__}: {found}); expected `staging:` with {names} a kind") from None
    for kind, rule in rules.items():
        for name, value in (("share", rule.share), ("alpha", rule.alpha)):
            if not 0 < value < 1:
                raise UserError(f"{path}: staging.{kind}.{name} is {value}, expected a share between 0 and 1")
        if rule.planned < 1 or rule.least_users < 2 or rule.futile_h < rule.least_hours or rule.margin <= 0:
            raise UserError(f"{path}: staging.{kind} expects planned >= 1, least_users >= 2, futile_h >= least_hours and margin > 0")
    return rules


def decide_staging(found: Evidence, rule: StagingRule, number: int = 1) -> StagingDecision:
    """Whether the ``number``-th challenger of its kind has won, lost, broken its arms or had its time; else it goes on."""
    alpha, level = rule.level(number), found.level
    difference = confidence_sequence(found.arms, alpha, rule.planned)
    lift = _as_share(difference, level)
    p = sample_ratio_p(found.arms.count, rule.share) if len(found.hours) else 1.0
    rails = [_guardrail(task, arms, rule, alpha) for task, arms in found.tasks.items() if len(arms.usable.count) and _level(arms)]
    enough = found.users >= rule.least_users
    long_enough = len(found.hours) >= rule.least_hours
    ending: Ending | None = None
    if p < rule.ratio_p:
        ending = "invalid"
    elif lift.high < rule.bound or (enough and lift.mean < rule.harm) or any(one.outcome == "fail" for one in rails):
        ending = "lost"
    elif lift.low > rule.bound and enough and long_enough and all(one.outcome == "pass" for one in rails):
        ending = "won"
    elif found.age_h >= rule.futile_h:
        ending = "futile"
    outcome = "pass" if lift.low > rule.bound and enough else "fail" if ending == "lost" else "abstain"
    figures = (
        Figure(VALUE, outcome, lift.mean, lift.low, lift.high, rule.bound, found.users) if math.isfinite(lift.low)
        else Figure(VALUE, "abstain", None, None, None, rule.bound, found.users),
        _figure(HOURS, long_enough, "abstain", len(found.hours), rule.least_hours, found.users),
        _figure(RATIO, p >= rule.ratio_p, "fail", p, rule.ratio_p, found.users),
        *rails,
    )  # fmt: skip
    held = "".join(f"; {_rail_sentence(one)}" for one in rails if one.outcome != "pass")
    return StagingDecision(ending, _sentence(found, lift, rule, ending, p) + held, lift, figures)


def power_sentence(found: Evidence, rule: StagingRule, number: int, effect: float = 0.05) -> str:
    """What it takes to tell a lift of ``effect`` from none, by how rewards varied lately: said before a challenger is looked at."""
    counts = found.arms.count.sum()
    if not found.hours or counts <= 0 or found.level <= 0:
        return f"how long a lift of {effect:.0%} takes to be told is not known: nobody was shown anything lately"
    deviation = math.sqrt(float(np.average(found.arms.variance, weights=np.maximum(found.arms.count, 1e-9))))
    users = users_needed(deviation, effect * found.level, rule.level(number), rule.planned, rule.share)
    hours = users / (counts / len(found.hours))
    return f"a lift of {effect:.0%} is told from none within {users:,.0f} users' hours, 8 times of 10: {hours:,.1f} hours of the last users"


def _guardrail(task: str, arms: HourlyArms, rule: StagingRule, alpha: float) -> Figure:
    """One reaction in staging: fail where it is shown to be less by more than the margin, abstain where it looks so."""
    level = abs(_level(arms))
    difference = _as_share(confidence_sequence(arms, alpha, rule.planned), level)
    bound = -max(rule.margin, ERRORS * standard_error(arms) / level)
    outcome = "fail" if difference.high < -rule.margin else "pass" if difference.mean > bound else "abstain"
    users = int(arms.count.sum(axis=0).min())
    return Figure(f"{task}{IN_STAGING}", outcome, difference.mean, difference.low, difference.high, bound, users)


def _rail_sentence(figure: Figure) -> str:
    said = "is shown to be less" if figure.outcome == "fail" else "looks less"
    return f"{figure.gate} {said}: {figure.value:+.1%} [{figure.low:+.1%}, {figure.high:+.1%}], the margin is {figure.bound:+.1%}"


def _level(arms: HourlyArms) -> float:
    counts = arms.count[:, 0]
    return float((counts * arms.mean[:, 0]).sum() / max(counts.sum(), 1))


def _as_share(difference: Interval, level: float) -> Interval:
    scale = max(level, 1e-9)
    return Interval(difference.mean / scale, difference.low / scale, difference.high / scale)


def _figure(name: str, holds: bool, otherwise: str, value: float, bound: float, n: int) -> Figure:
    return Figure(name, "pass" if holds else otherwise, float(value), float(value), float(value), float(bound), n)


def _sentence(found: Evidence, lift: Interval, rule: StagingRule, ending: Ending | None, p: float) -> str:
    if not math.isfinite(lift.low):
        return f"nobody of both arms was shown anything yet, {_hours(found.age_h)} after it began"
    by = f"{lift.mean:+.1%} [{lift.low:+.1%}, {lift.high:+.1%}] by {found.users:,} users' hours an arm in {_hours(len(found.hours))}"
    said = {
        None: f"goes on: {by}",
        "won": f"is better: {by}",
        "lost": _lost(lift, rule, by),
        "futile": f"ended undecided after {_hours(found.age_h)}: {by}",
        "invalid": f"arms are not as they were drawn (p {p:.1g}, {_counts(found)} users' hours): look for what loses rows of one arm",
    }
    return said[ending]


def _lost(lift: Interval, rule: StagingRule, by: str) -> str:
    if lift.high < rule.bound:
        return f"is worse than {rule.bound:+.0%}: {by}"
    return f"is far worse: {by}, the stop lies at {rule.harm:+.0%}" if lift.mean < rule.harm else f"is worse in one reaction: {by}"


def _hours(count: int) -> str:
    return f"{count} hour{'' if count == 1 else 's'}"


def _counts(found: Evidence) -> str:
    production, challenger = found.arms.count.sum(axis=0)
    return f"{production:,.0f} and {challenger:,.0f}"
