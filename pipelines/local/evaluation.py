"""Value of the loop's slates by the truth of the simulated world, beside what frozen, popular, random and best slates are worth.

For each live hour *h*: the slates drawn at its end, valued by the truth of hour *h* + 1 (expected reward, no click noise,
position discount included) for all users who come then and have a slate. Newcomers, to whom the default
slate is shown, are left out. ``frozen_weights`` is the first release drawing anew from the loop's fresh counters and
histories; ``frozen_all`` is the same release going by counters, histories and ages as they stood when the hours of the
first release ended (the first hour after the start that had a decision). All arms share the loop's allowed items, the
candidate rules and the noise; so in an hour that the first release drew, ``frozen_weights`` is the loop itself.
A function of tables and truth alone: run again, it writes the same rows.
"""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.control import read_rows
from pipelines.lake.metrics import write_metrics
from pipelines.local.arms import all_arms
from pipelines.local.code_version import code_version
from pipelines.local.landing import write_file
from pipelines.local.loop_state import published_slates, read_frozen_view, read_state, scored
from pipelines.local.reward_figures import ARMS, HOUR, LIVE, SHARE, HourRewards, figures
from pipelines.local.visitors import visitors
from pipelines.local.world import World
from pipelines.registry.releases import all_releases, release_folder
from pipelines.settings import Settings


def frozen_hour(settings: Settings) -> str | None:
    """The hour at whose end the first release's own hours are over: the first one after the start with a decision."""
    start = settings.lake.start_hour or ""
    decided = {row.hour for row in all_releases(settings) if row.decided_by == "promote_models"}
    return min((hour for hour in decided if hour > start), default=None)


def live_hours(settings: Settings) -> list[str]:
    """Scored hours after the frozen one, oldest first."""
    frozen = frozen_hour(settings)
    done = {row.hour for row in ledger.rows(settings, "score_users") if row.status == "done"}
    return sorted(hour for hour in done if frozen is not None and hour > frozen)


def evaluate(settings: Settings) -> list[str]:
    """Writes the figures of every live hour into ``metrics`` and answers the hours; nothing without a simulated world."""
    hours = live_hours(settings)
    if not hours or not (settings.truth / "world.json").exists():
        return []
    world, written, so_far, changed = World.load(settings.truth), _written(settings), [], False
    for hour in hours:
        rewards = _kept_rewards(settings, hour)
        changed |= rewards is None or hour not in written
        so_far.append(rewards or _compute_and_keep(settings, world, hour))
        if changed:
            _write(settings, hour, so_far)
    return hours


def hour_rewards(settings: Settings, world: World, hour: str) -> HourRewards:
    """Expected rewards of all arms for users who come in the next hour."""
    import torch

    from spark_jobs.release import load_release

    torch.set_num_threads(1)  # two threads that share two cores with the services took four times as long
    first = all_releases(settings)[0]
    folder = release_folder(settings, first.release_id)
    release = load_release(folder, first.release_id, [term.weight for term in settings.reward.terms])
    config, shown_in = release.ranker.config, shift(hour, 1)
    slates = published_slates(settings, hour)
    have_slates = set(slates.column("user_id").to_pylist())
    users = [user for user in visitors(world, shown_in) if user in have_slates]
    state = read_state(settings, hour, users, slates, config)
    frozen = read_frozen_view(settings, min(hour, frozen_hour(settings) or hour), users, state.catalogue, config)
    arms = all_arms(state, frozen, release, world, settings.reward)
    values = [world.expected_reward(users, arms[arm], shown_in, settings.reward) for arm in ARMS]
    return HourRewards(hour, users, np.stack(values, axis=1))


def _kept_rewards(settings: Settings, hour: str) -> HourRewards | None:
    """The hour's rewards, where they were computed from the same tables and code."""
    path = _kept_path(settings, hour)
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as kept:
        same = kept["made_from"].item() == _made_from(settings, hour)
        return HourRewards(hour, kept["users"].tolist(), kept["rewards"]) if same else None


def _compute_and_keep(settings: Settings, world: World, hour: str) -> HourRewards:
    found, content = hour_rewards(settings, world, hour), io.BytesIO()
    made_from = np.array(_made_from(settings, hour))
    np.savez(content, made_from=made_from, users=np.array(found.users), rewards=found.rewards)
    write_file(_kept_path(settings, hour), content.getvalue())
    return found


def _made_from(settings: Settings, hour: str) -> str:
    row = scored(settings, hour)
    return json.dumps([row.inputs, row.outputs, frozen_hour(settings), code_version()], sort_keys=True)


def _kept_path(settings: Settings, hour: str) -> Path:
    return settings.truth / "evaluation" / f"{hour}.npz"


def _written(settings: Settings) -> set[str]:
    """Hours whose figures the table holds."""
    rows = read_rows(settings, "metrics", columns=["hour"], where=pc.field("name") == SHARE)
    return {row["hour"] for row in rows}


def _write(settings: Settings, hour: str, so_far: list[HourRewards]) -> None:
    release, seed = scored(settings, hour).release_id, settings.seed
    alone, together = figures(so_far[-1:], seed, HOUR, release), figures(so_far, seed, LIVE, release)
    write_metrics(settings, hour, [*alone, *together])
