"""Where the policy starts, and what it learns from the slates of users outside the gate fold."""

from dataclasses import dataclass, replace

from models.artifacts import load_policy, load_ranker
from models.policies.base import PolicyConfig, RefreshSettings, SlatePolicy
from models.policies.learners import make_policy
from models.policies.refresh import RefreshReport, refresh_policy
from models.ranker import Ranker
from pipelines.hours import shift
from pipelines.registry.releases import production_before, release_folder
from pipelines.settings import Settings
from pipelines.steps.candidates import POLICY, RANKER, candidate_folder
from pipelines.steps.policy_judging import SlateLog
from spark_jobs.candidates import CANDIDATE_FEATURES, USER_COUNTERS, USER_TEXT_WIDTH
from spark_jobs.release import Release, load_release

LEARNED_SLATES = 2048  # of the log, a hashed sample: 200 steps of 256 see each 25 times
ANCHOR_H = 168


@dataclass(frozen=True)
class Lineage:
    """The hour's ranker candidate, the policy to go on from, and production as judged against (None at the first hour).

    anchor: the policy that was in production a week ago, from which no refresh may go far.
    """

    ranker: Ranker
    policy: SlatePolicy
    champion: Release | None
    task_rewards: tuple[float, ...]
    anchor: SlatePolicy | None

    def composed(self, policy: SlatePolicy) -> Release:
        """The candidate ranker with this policy."""
        return Release("candidate", self.ranker, policy, self.task_rewards)


def lineage(settings: Settings, hour: str) -> Lineage:
    """The ranker that this hour left, and production's policy; where it is another learner's than is set, the temperature rule."""
    rewards = tuple(term.weight for term in settings.reward.terms)
    row = production_before(settings, hour)
    champion = load_release(release_folder(settings, row.release_id), row.release_id, rewards) if row else None
    ranker, anchor = load_ranker(candidate_folder(settings, hour) / RANKER), production_before(settings, shift(hour, -ANCHOR_H))
    older = load_policy(release_folder(settings, anchor.release_id) / POLICY) if anchor else None
    policy = _going_on(settings, champion.policy if champion else None) or _untrained(settings)
    return Lineage(ranker, policy, champion, rewards, _going_on(settings, older))


def refreshed(log: SlateLog | None, own: Lineage, temperature: float | None = None) -> tuple[SlatePolicy, RefreshReport, int]:
    """The refreshed policy, its distance from the start, and the slates that it learned from.

    Where nothing was shown yet, and nothing can be judged, the policy takes the ``temperature``; else it goes there within its limits.
    """
    reader = log.learning(LEARNED_SLATES, own.policy.needs_sessions) if log else None
    if reader is None:
        if temperature is not None and own.champion is None:
            own.policy.set_temperature(temperature)
        return own.policy, RefreshReport(0.0, 0.0, 0.0, 0.0, 0), 0
    settings, slates = reader.settings, reader.composed(own.composed(own.policy)).slates
    rule = settings.policy
    learning = RefreshSettings(
        steps=rule.steps, lr=rule.lr, weight_cap=rule.weight_cap, kl_limit=rule.kl_limit, entropy=rule.entropy, seed=settings.seed,
        anchor_kl_limit=rule.anchor_kl_limit,
    )  # fmt: skip
    policy, report = refresh_policy(own.policy, slates, learning, own.anchor, temperature=temperature)
    return policy, report, len(slates)


def _untrained(settings: Settings) -> SlatePolicy:
    """A policy of the learner that is set, which has learned nothing."""
    config = PolicyConfig(len(USER_COUNTERS) + USER_TEXT_WIDTH, len(CANDIDATE_FEATURES))
    return make_policy(_as_set(settings, config), settings.seed)


def _going_on(settings: Settings, released: SlatePolicy | None) -> SlatePolicy | None:
    """What a released policy has learned, under the settings of now; None where there is none, or it is another learner's."""
    if released is None or released.config.learner != settings.policy.learner:
        return None
    policy = make_policy(_as_set(settings, released.config))
    policy.load_state_dict(released.state_dict())
    return policy


def _as_set(settings: Settings, config: PolicyConfig) -> PolicyConfig:
    rule = settings.policy
    return replace(
        config, learner=rule.learner, logit_range=rule.logit_range, epsilon=rule.epsilon, bonus=rule.bonus, discount=rule.discount,
        shaping=rule.shaping, potential=USER_COUNTERS.index("reward_24h"),
    )  # fmt: skip
