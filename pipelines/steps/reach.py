"""How far one hour's ranker may move the slates: what is too far from what was logged cannot be judged by the log."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.off_policy import difference, effective_share, value
from models.policy_gradient import slate_kl
from models.ranker import Ranker
from models.records import ItemTable, RankerBatch
from pipelines.registry.gates import CONFIDENCE
from pipelines.registry.releases import ReleaseRow, release_folder
from pipelines.settings import Settings
from pipelines.steps.logged_slates import SlateReader
from pipelines.steps.policy_judging import SlateLog
from pipelines.steps.support import Support
from spark_jobs.release import Release, load_release

BISECTIONS, SLATES, SUPPORT_SLATES, EVERY = 6, 2048, 128, 8
GAIN_SHARE = 0.5  # of what the slates of users who taught the ranker say that it gains: what others will say of it is less


@dataclass(frozen=True)
class Reached:
    """A ranker between production's and the learned one: ``share`` of the way, ``kl`` nats a slate from production.

    effective: the part of a logged slate's evidence that is left for it, as effective sample size over slates.
    outside: what of its slates the log's candidates did not hold.
    gain, below: what these slates say it is worth more than production, as a share of production's value, and how far below
    that the lower end of the gate's interval lies.
    """

    ranker: Ranker
    share: float
    kl: float = 0.0
    effective: float = 0.0
    gain: float = 0.0
    below: float = 0.0
    outside: float = 0.0

    def expected_low(self, slates: int, judging: int) -> float:
        """Where the lower end lies likely on other slates, so many, if it was found on so many."""
        return min(self.gain, GAIN_SHARE * self.gain) - self.below * math.sqrt(slates / max(1, judging))


def served(
    settings: Settings, log: SlateLog | None, learned: Ranker, champion: ReleaseRow | None, by: RankerBatch | None, least_value: float
) -> Reached:
    """The learned ranker, calibrated ``by`` these rows, or as much of the way to it as the log can still judge.

    That is: KL(production || composed) within ``policy.reach`` nats a slate, at most ``policy.outside`` of what it would show is outside of
    what was logged, and on the gate fold an effective sample of
    ``policy.least_effective`` slates and a lower end of the difference in value above ``least_value`` are to be expected: a long step
    that is worth more may be told less surely than a short one. Composed is with production's policy. Both rankers grew from one
    bootstrap: between their weights lies no worse one.
    """
    slates = log.learning(SLATES, whole_users=True) if log else None
    if log is None or slates is None or champion is None or by is None:
        return Reached(learned, 1.0)
    rewards = tuple(term.weight for term in settings.reward.terms)
    production = load_release(release_folder(settings, champion.release_id), champion.release_id, rewards)
    some = by.rows(slice(None, None, EVERY))  # on the way; where it ends all calibrate
    supporting = log.supporting(champion.release_id, False, SUPPORT_SLATES)
    support = Support(settings, supporting) if supporting else None
    way = _Way(slates, learned, some, log.catalogue.table, production, slates.composed(production).logits, support)
    judging = log.judging()
    rule, here, there = settings.policy, len(slates.shown), len(judging.shown) if judging else 0

    def holds(reached: Reached) -> bool:
        enough = reached.kl <= rule.reach and reached.effective * there >= rule.least_effective and reached.outside <= rule.outside
        return enough and reached.expected_low(here, there) > least_value

    best, low, high = way.at(1.0), 0.0, 1.0
    whole = holds(best)
    best = best if whole else way.at(0.0)
    for _ in range(0 if whole else BISECTIONS):
        middle = way.at((low + high) / 2)
        if holds(middle):
            best, low = middle, middle.share
        else:
            high = middle.share
    best.ranker.fit_calibration(by, log.catalogue.table)
    return best


@dataclass(frozen=True)
class _Way:
    """The straight line from production's ranker to the learned one."""

    slates: SlateReader
    learned: Ranker
    by: RankerBatch
    items: ItemTable
    production: Release
    start: Tensor  # production's logits (S, C)
    support: Support | None

    @torch.no_grad()
    def at(self, share: float) -> Reached:
        """The calibrated ranker at this share of the way, and its distance from production."""
        ranker = copy.deepcopy(self.production.ranker)
        for weight, other in zip(ranker.parameters(), self.learned.parameters(), strict=True):
            weight.lerp_(other, share)
        ranker.eval().fit_calibration(self.by, self.items)
        release = Release("candidate", ranker, self.production.policy, self.production.task_rewards)
        composed, outside = self.slates.composed(release), float(self.support.outside(release).mean()) if self.support else 0.0
        kl = slate_kl(self.start, composed.logits, composed.slates)
        predicted = composed.slates.candidates[..., 0].sigmoid()
        gain = difference(composed.slates, composed.logits, self.start, CONFIDENCE, predicted=predicted)
        level = max(value(composed.slates, self.start, predicted=predicted).mean, 1e-9)
        effective = effective_share(composed.slates, composed.logits)
        return Reached(ranker, share, kl.mean().item(), effective, gain.mean / level, (gain.mean - gain.low) / level, outside)
