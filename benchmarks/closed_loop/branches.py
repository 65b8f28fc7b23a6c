"""One root after its first release and a day of logged hours, and the branches in which the same world goes on from there.

A branch is played in the root's own folder, since services, tables and models lie there by their paths: the state is kept aside first,
and put back before the next branch. What a branch was worth is kept too, so that a run that was cut short goes on.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from benchmarks.closed_loop.click_farm import poison
from pipelines.hours import shift
from pipelines.lake import holds
from pipelines.local.demo import start_engines
from pipelines.local.demo_data import write_demo_data
from pipelines.local.drift import Speed
from pipelines.local.evaluation import hour_rewards
from pipelines.local.in_process import explained
from pipelines.local.live_hours import next_hours
from pipelines.local.logged_hours import bootstrap, play_logged_hours
from pipelines.local.loop_state import published_slates, read_state, scored
from pipelines.local.reward_figures import ARMS
from pipelines.local.services import down
from pipelines.local.simulated_users import simulate
from pipelines.local.stages import Stages
from pipelines.local.world import World
from pipelines.registry.releases import release_folder
from pipelines.settings import Settings, load_settings
from pipelines.steps.hour import run_hour
from spark_jobs.candidates import candidate_rows, describe
from spark_jobs.release import load_release

GREEDY = "greedy"


@dataclass(frozen=True)
class Branch:
    """``poisoned``: a click farm comes in the first hour. ``changes``: of settings."""

    name: str
    poisoned: bool = False
    changes: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Played:
    """Expected rewards of every slate of a branch, hours in order; ``arms`` names the columns."""

    arms: Sequence[str]
    hours: Sequence[str]  # of the draw, one a row
    users: Sequence[str]
    rewards: NDArray[np.float64]  # (rows, arms)
    releases: Sequence[str]  # that drew each hour
    held: Sequence[str]  # hours


def prepare(home: Path, seed: int, speed: Speed, stages: Stages) -> Path:
    """A root whose logged hours are over, kept aside; answers the kept folder."""
    kept = home.with_name(home.name + "-kept")
    if kept.exists():
        return kept
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "recloop.yaml").exists():
        (home / "recloop.yaml").write_text(f"domain: video\nseed: {seed}\n")
    write_demo_data(load_settings(home, {}), "movielens", speed)
    settings = load_settings(home, {})
    try:
        start_engines(settings, stages)
        bootstrap(settings, stages)
        play_logged_hours(settings, stages)
    finally:
        down(settings)
    copied = kept.with_name(kept.name + ".tmp")
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(home, copied, symlinks=True)
    return copied.rename(kept)


def play(home: Path, kept: Path, branch: Branch, hours: int, stages: Stages) -> Played:
    """The branch from the kept state on, each hour's slates valued by the truth of the next."""
    path = home.with_name(f"{home.name}-{branch.name.replace(' ', '_')}.npz")
    if path.exists():
        with np.load(path, allow_pickle=False) as found:
            return Played(**{name: found[name] if name == "rewards" else found[name].tolist() for name in found.files})
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(kept, home, symlinks=True)
    _change(home, branch.changes or {})
    settings = load_settings(home, {})
    todo = next_hours(settings, hours)
    try:
        start_engines(settings, stages)
        for number, hour in enumerate(todo):
            explained(settings, f"simulate {hour}", partial(simulate, settings, [hour]))
            if branch.poisoned and not number:
                stages.note(f"{poison(settings, hour):,} clicks of a farm in {hour}")
            with stages.stage(f"{branch.name}: {hour}") as stage:
                outcomes = explained(settings, f"hour {hour}", partial(run_hour, settings, hour))
                stage.ends_with(outcomes[-1].detail)
    finally:
        down(settings)
    played = _valued(settings, todo)
    np.savez(path, **{name: getattr(played, name) for name in Played.__dataclass_fields__})
    return played


def _change(home: Path, changes: Mapping[str, Any]) -> None:
    path = home / "recloop.yaml"
    values = yaml.safe_load(path.read_text())
    for section, keys in changes.items():
        values[section] = (values.get(section) or {}) | keys
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def _valued(settings: Settings, hours: list[str]) -> Played:
    world, found, names, users = World.load(settings.truth), [], list[str](), list[str]()
    for hour in hours:
        rewards = hour_rewards(settings, world, hour)
        found.append(np.column_stack([rewards.rewards, _greedy(settings, world, hour, rewards.users)]))
        names += [hour] * len(rewards.users)
        users += rewards.users
    releases = tuple(scored(settings, hour).release_id or "" for hour in hours)
    return Played((*ARMS, GREEDY), names, users, np.concatenate(found), releases, tuple(sorted(holds.holds(settings, "poison"))))


@torch.no_grad()
def _greedy(settings: Settings, world: World, hour: str, users: list[str]) -> NDArray[np.float64]:
    """(U,) of the K candidates that the release in force takes for the most rewarding, in this order: nothing is explored."""
    name = scored(settings, hour).release_id or ""
    release = load_release(release_folder(settings, name), name, [term.weight for term in settings.reward.terms])
    state = read_state(settings, hour, users, published_slates(settings, hour), release.ranker.config)
    rows, mask = candidate_rows(
        release, users, state.view.users, state.catalogue, state.view.items, state.rules, state.of_items, state.allowed, state.fresh
    )
    candidates = describe(release, state.view.users, state.catalogue, state.view.items, rows, mask)
    order = candidates.features[..., 0].masked_fill(~mask, -torch.inf).topk(state.rules.size, dim=1).indices
    best = rows.gather(1, order).numpy()
    items = np.array(["", *state.catalogue.ids.to_pylist()], dtype=object)[best]
    return world.expected_reward(users, items, shift(hour, 1), settings.reward)
