"""What exploring costs, and what it buys, by temperature and number of candidates: slates of the demo's newest release, by the truth.

    python -m benchmarks.exploring [--users 600]          # of the root $RECLOOP_HOME (default .recloop), after `recloop demo`

From the state of the last live hour, the ranker's utility over each temperature, without anything that the policy learned: expected reward
a slate by the truth, what it costs by the ranker's own expectation, how far the ranker's newest step moves the slates (KL a slate from the
ranker of the release that was in force before, and the share of a log of that one which is left for judging), and what share of the new
ranker's slates the old one's candidates hold. Writes benchmarks/results/exploring.json.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.paired import write_result
from models.off_policy import effective_share
from models.policies.base import PolicyConfig
from models.policies.learners import make_policy
from models.policy_gradient import slate_kl
from models.records import LoggedSlates
from pipelines.hours import shift
from pipelines.local.evaluation import live_hours
from pipelines.local.loop_state import LoopState, published_slates, read_state
from pipelines.local.visitors import visitors
from pipelines.local.world import World
from pipelines.registry.releases import PRODUCTION, all_releases, release_folder
from pipelines.settings import Settings, load_settings
from spark_jobs.candidates import candidate_rows, describe
from spark_jobs.drawing import Draw, draw_slates, slate_logits
from spark_jobs.release import Release, load_release

TEMPERATURES = (0.35, 0.25, 0.2, 0.15, 0.1, 0.05)
RETRIEVED_AND_CANDIDATES = ((50, 50), (100, 100), (400, 100), (400, 50), (400, 30))
LINE = "| {retrieved} | {candidates} | {temperature:.2f} | {value:.2f} | {best:.2f} | {cost:.0%} | {effective:.0%} | {known:.0%} |"


@dataclass(frozen=True)
class Way:
    """Two releases of one lineage, the older one's candidates, and the users of an hour."""

    settings: Settings
    world: World
    state: LoopState
    old: Release
    new: Release

    def at(self, temperature: float, retrieved: int, size: int) -> dict[str, float]:
        state = replace(self.state, rules=replace(self.state.rules, retrieved=retrieved, candidates=size))
        policy = make_policy(PolicyConfig(1, 1, learner="softmax", temperature=temperature))
        old, new = (Release(one.release_id, one.ranker, policy, one.task_rewards) for one in (self.old, self.new))
        (before_rows, _), (rows, mask) = (_candidates(state, release) for release in (old, new))
        kept = (rows.unsqueeze(2) == before_rows.unsqueeze(1)).any(2)
        found, limits = {}, state.of_items.limits(rows, state.rules.size)
        for release in (old, new):
            candidates = describe(release, state.view.users, state.catalogue, state.view.items, rows, mask)
            logits = slate_logits(release, state.view.users, candidates, state.view.items, state.of_items.offset[rows])
            drawn = draw_slates(logits, state.users, candidates, state.catalogue, state.rules, limits)
            found[release.release_id] = candidates, logits, drawn
        before, after = found[old.release_id], found[new.release_id]
        log = self._log(before[2], mask, before[1], limits)
        expected = after[0].features[..., 0].sigmoid().masked_fill(~mask, 0)
        best = expected.topk(state.rules.size, dim=1).indices
        cost = 1 - float(expected.gather(1, after[2].action).sum() / expected.gather(1, best).sum())
        return {
            "retrieved": retrieved, "candidates": size, "temperature": temperature,
            "value": self._worth(rows.gather(1, after[2].action)), "best": self._worth(rows.gather(1, best)),
            "cost": cost, "kl": slate_kl(before[1], after[1], log).mean().item(), "effective": effective_share(log, after[1]),
            "known": kept.gather(1, after[2].action).float().mean().item(),
        }  # fmt: skip

    def _worth(self, rows: torch.Tensor) -> float:
        names = np.array(["", *self.state.catalogue.ids.to_pylist()], dtype=object)[rows.numpy()]
        return float(self.world.expected_reward(self.state.users, names, shift(self.state.hour, 1), self.settings.reward).mean())

    @staticmethod
    def _log(drawn: Draw, mask: torch.Tensor, logits: torch.Tensor, limits: object) -> LoggedSlates:
        count, none = len(mask), torch.zeros(len(mask), 1)
        shown = drawn.propensity > 0
        return LoggedSlates(
            none, none.unsqueeze(1).expand(*mask.shape, 1), mask, logits, drawn.action, shown, drawn.propensity,
            torch.zeros_like(drawn.propensity), torch.arange(count), torch.full((count,), -1),
            torch.zeros(count, dtype=torch.int64), limits,
        )  # fmt: skip


def _candidates(state: LoopState, release: Release) -> tuple[torch.Tensor, torch.Tensor]:
    return candidate_rows(
        release, state.users, state.view.users, state.catalogue, state.view.items, state.rules, state.of_items, state.allowed, state.fresh
    )


def read(settings: Settings, users: int) -> Way:
    hours = live_hours(settings)
    releases = list(dict.fromkeys(row.release_id for row in all_releases(settings) if row.stage == PRODUCTION))
    if not hours or len(releases) < 2:
        raise SystemExit(f"{settings.home} has no live hour of a second release; run `recloop demo` first")
    rewards = [term.weight for term in settings.reward.terms]
    old, new = (load_release(release_folder(settings, name), name, rewards) for name in releases[-2:])
    world, hour = World.load(settings.truth), hours[-1]
    slates = published_slates(settings, hour)
    known = set(slates["user_id"].to_pylist())
    some = [user for user in visitors(world, shift(hour, 1)) if user in known][:users]
    return Way(settings, world, read_state(settings, hour, some, slates, new.ranker.config), old, new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=600)
    torch.set_num_threads(1)
    settings = load_settings()
    way = read(settings, parser.parse_args().users)
    rows = [way.at(t, retrieved, size) for retrieved, size in RETRIEVED_AND_CANDIDATES for t in TEMPERATURES]
    for row in rows:
        print(LINE.format(**row))
    own = [row for row in rows if (row["retrieved"], row["candidates"]) == (settings.slates.retrieved, settings.slates.candidates)]
    if not own:
        raise SystemExit(f"the root's slates.retrieved and slates.candidates are none of {RETRIEVED_AND_CANDIDATES}; add them there")
    best, served = own[0]["best"], max(own, key=lambda row: row["value"])
    write_result("exploring", {
        "claim": "what drawing slates costs against the best order of the same ranker, at the best temperature of those tried",
        "row": "reward",
        "ours": served["value"], "peer": best, "users": len(way.state.users), "draws": rows, "met": True,
        "measured": f"{1 - served['value'] / best:.0%} at {served['temperature']}: {served['value']:.2f} against {best:.2f} a slate, "
        f"{len(way.state.users)} users; " + ", ".join(f"{row['temperature']}: {row['value']:.2f}" for row in own), "goal_text": "none",
    })  # fmt: skip


if __name__ == "__main__":
    main()
