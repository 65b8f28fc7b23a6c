"""How far one hour's ranker may move the slates: what is too far from everything that was logged cannot be judged by the log."""

import copy
from dataclasses import dataclass

import torch

from models.policy_gradient import slate_kl
from models.ranker import Ranker
from pipelines.registry.releases import ReleaseRow, release_folder
from pipelines.settings import Settings
from pipelines.steps.logged_slates import SlateReader
from pipelines.steps.policy_judging import SlateLog
from spark_jobs.drawing import Release, load_release

BISECTIONS, SLATES = 6, 1024


@dataclass(frozen=True)
class Reached:
    """A ranker between production's and the learned one: ``share`` of the way, ``kl`` nats a slate from what was logged."""

    ranker: Ranker
    share: float
    kl: float


def within_reach(settings: Settings, log: SlateLog | None, learned: Ranker, champion: ReleaseRow | None) -> Reached:
    """The learned ranker, or as much of the way to it as keeps KL(logged || composed) within ``policy.reach`` nats a slate.

    Composed is with production's policy. Both rankers grew from one bootstrap: between their weights lies no worse one.
    """
    reader = log.learning(SLATES) if log else None
    if reader is None or champion is None:
        return Reached(learned, 1.0, 0.0)
    rewards = tuple(term.weight for term in settings.reward.terms)
    production = load_release(release_folder(settings, champion.release_id), champion.release_id, rewards)
    at_end, limit = _reached(reader, learned, production, 1.0), settings.policy.reach
    if at_end.kl <= limit:
        return at_end
    best, low, high = _reached(reader, learned, production, 0.0), 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = _reached(reader, learned, production, (low + high) / 2)
        if middle.kl <= limit:
            best, low = middle, middle.share
        else:
            high = middle.share
    return best


@torch.no_grad()
def _reached(reader: SlateReader, learned: Ranker, champion: Release, share: float) -> Reached:
    ranker = copy.deepcopy(champion.ranker)
    for weight, other in zip(ranker.parameters(), learned.parameters(), strict=True):
        weight.lerp_(other, share)
    composed = reader.composed(Release("candidate", ranker.eval(), champion.policy, champion.task_rewards))
    kl = slate_kl(reader.behavior_logits, composed.logits, composed.slates.action, composed.slates.shown)
    return Reached(ranker, share, kl.mean().item())
