"""Where the policy starts, and what it learns from the slates of users outside the gate fold."""

import copy
from dataclasses import dataclass, replace

from models.artifacts import load_policy, load_ranker
from models.policies.base import PolicyConfig, RefreshSettings, SlatePolicy
from models.policies.learners import make_policy
from models.policies.refresh import RefreshReport, all_logits, refresh_policy
from models.policy_gradient import slate_entropy
from models.ranker import Ranker
from pipelines.hours import shift
from pipelines.registry.releases import production_before, release_folder
from pipelines.settings import Settings
from pipelines.steps.candidates import CHALLENGER, POLICY, RANKER, candidate_folder, challenger_folder
from pipelines.steps.encoders import read_version
from pipelines.steps.policy_judging import SlateLog
from spark_jobs.candidates import CANDIDATE_FEATURES, USER_COUNTERS, USER_TEXT_WIDTH
from spark_jobs.release import Release, load_release

SPREAD, WARMEST = 0.9, 4.0  # of production's entropy, what a challenger keeps at least; how far its temperature may be raised for it
BISECTIONS = 6
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
    folder = release_folder(settings, anchor.release_id) if anchor else None
    read = read_version(folder / RANKER) if folder else None  # of another encoder's vectors it says nothing about these
    older = load_policy(folder / POLICY) if folder and read == ranker.config.encoder_version else None
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


def challenger(settings: Settings, hour: str, own: Lineage) -> Release | None:
    """The hour's challenger: its ranker with production's policy; None where the hour has none.

    What that policy has learned of users' vectors holds for those of one encoder: with another it starts anew, at the same temperature.
    """
    folder = challenger_folder(settings, hour) / RANKER
    if own.champion is None or not folder.exists():
        return None
    ranker, policy = load_ranker(folder), own.champion.policy
    if ranker.config.encoder_version != own.champion.ranker.config.encoder_version:
        temperature, policy = policy.temperature, _untrained(settings)
        policy.set_temperature(temperature)
    return Release(CHALLENGER, ranker, policy, own.task_rewards)


def as_spread(log: SlateLog, own_log: SlateLog, champion: Release, found: Release) -> Release:
    """The challenger with its policy at a temperature raised until its slates keep SPREAD of production's entropy.

    A sharper ranker draws the same few items again and again: who comes after it could not be judged by its log.
    own_log: the log by the vectors that the challenger reads.
    """
    slates, own, policy = log.learning(LEARNED_SLATES), own_log.learning(LEARNED_SLATES), copy.deepcopy(found.policy)
    if slates is None or own is None:
        return found
    composed, base = own.composed(found).slates, slates.composed(champion)
    least = SPREAD * slate_entropy(base.logits, base.slates).mean().item()
    first, low, high = policy.temperature, 1.0, WARMEST

    def holds(times: float) -> bool:
        policy.set_temperature(first * times)
        return slate_entropy(all_logits(policy, composed), composed).mean().item() >= least

    if holds(1.0):
        return replace(found, policy=policy)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    policy.set_temperature(first * high)
    return replace(found, policy=policy)


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
