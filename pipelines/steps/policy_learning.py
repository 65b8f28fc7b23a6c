"""Where the policy starts, and what it learns from the slates of users outside the gate fold."""

from dataclasses import dataclass

from models.artifacts import load_ranker
from models.policy import Policy, PolicyConfig, RefreshReport, RefreshSettings, refresh_policy
from models.ranker import Ranker
from pipelines.registry.releases import production_before, release_folder
from pipelines.settings import Settings
from pipelines.steps.candidates import RANKER, candidate_folder
from pipelines.steps.policy_judging import SlateLog
from spark_jobs.drawing import CANDIDATE_FEATURES, USER_COUNTERS, USER_TEXT_WIDTH, Release, load_release

LEARNED_SLATES = 2048  # of the log, a hashed sample: 200 steps of 256 see each 25 times


@dataclass(frozen=True)
class Lineage:
    """The hour's ranker candidate, the policy to go on from, and production as judged against (None at the first hour)."""

    ranker: Ranker
    policy: Policy
    champion: Release | None
    task_rewards: tuple[float, ...]

    def composed(self, policy: Policy) -> Release:
        """The candidate ranker with this policy."""
        return Release("candidate", self.ranker, policy, self.task_rewards)


def lineage(settings: Settings, hour: str) -> Lineage:
    """The ranker that this hour left, and production's policy, else the temperature rule."""
    rewards = tuple(term.weight for term in settings.reward.terms)
    row = production_before(settings, hour)
    champion = load_release(release_folder(settings, row.release_id), row.release_id, rewards) if row else None
    ranker = load_ranker(candidate_folder(settings, hour) / RANKER)
    return Lineage(ranker, champion.policy if champion else _temperature_rule(settings), champion, rewards)


def refreshed(log: SlateLog | None, own: Lineage) -> tuple[Policy, RefreshReport, int]:
    """The refreshed policy, its distance from the start, and the slates that it learned from."""
    reader = log.learning(LEARNED_SLATES) if log else None
    if reader is None:
        return own.policy, RefreshReport(0.0, 0.0, 0.0, 0.0, 0), 0
    settings, slates = reader.settings, reader.composed(own.composed(own.policy)).slates
    rule = settings.policy
    learning = RefreshSettings(
        steps=rule.steps, lr=rule.lr, weight_cap=rule.weight_cap, kl_limit=rule.kl_limit, entropy=rule.entropy, seed=settings.seed
    )
    policy, report = refresh_policy(own.policy, slates, learning)
    return policy, report, len(slates)


def _temperature_rule(settings: Settings) -> Policy:
    """A policy that has learned nothing."""
    rule = settings.policy
    width = len(USER_COUNTERS) + USER_TEXT_WIDTH
    return Policy(PolicyConfig(width, len(CANDIDATE_FEATURES), temperature=rule.temperature, logit_range=rule.logit_range)).eval()
