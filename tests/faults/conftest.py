"""A small root whose third hour stands ready: before each of its steps a copy to be killed in, after each the undisturbed tables.

A copy has an MLflow of its own, from what the root's held then: in a shared one it would find what another copy registered.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.local.services import down, ensure_mlflow
from pipelines.settings import Settings, load_settings
from tests.faults.small_loop import HOURS, STEPS, begin_root, finish_step, land_reactions

LEARNING = STEPS[2:]


@dataclass(frozen=True)
class Staged:
    """``before[step]``: the root as it is when the step of the last hour is to run; ``after[step]``: as it left it."""

    before: dict[str, Path]
    after: dict[str, Path]


def copied(home: Path, to: Path) -> Path:
    """The root without its record of running services."""
    return Path(shutil.copytree(home, to, ignore=shutil.ignore_patterns("services.json")))


@pytest.fixture(scope="session")
def staged(tmp_path_factory, spark_server) -> Staged:
    folder = tmp_path_factory.mktemp("faults")
    home = folder / "clean"
    settings = begin_root(home, spark_server)
    try:
        ensure_mlflow(settings)
        return _stages(home, folder)
    finally:
        down(settings)


def _stages(home: Path, folder: Path) -> Staged:
    for step in (STEPS[0], *LEARNING, STEPS[1]):
        finish_step(home, step, HOURS[0])
    for hour in HOURS[1:]:
        land_reactions(home, hour)
        if hour != HOURS[-1]:
            for step in STEPS:
                finish_step(home, step, hour)
    before, after = {}, {}
    for step in STEPS:
        before[step] = copied(home, folder / f"before {step}")
        finish_step(home, step, HOURS[-1])
        after[step] = copied(home, folder / f"after {step}")
    return Staged(before, after)


@pytest.fixture
def root_copy(tmp_path) -> Iterator[Callable[[Path], Settings]]:
    """A fresh copy of a staged root; its services end with the test."""
    copies: list[Settings] = []

    def copy(home: Path) -> Settings:
        settings = load_settings(copied(home, tmp_path / f"root with späce {len(copies)}"), {})
        copies.append(settings)
        if home.name.split()[-1] in LEARNING:
            ensure_mlflow(settings)
        return settings

    yield copy
    for settings in copies:
        down(settings)


@pytest.fixture
def root_before(staged, root_copy) -> Callable[[str], Settings]:
    """A copy of the root as it is before the step."""
    return lambda step: root_copy(staged.before[step])


@pytest.fixture
def root_after(staged, root_copy) -> Callable[[str], Settings]:
    """A copy of the root as the step left it."""
    return lambda step: root_copy(staged.after[step])
