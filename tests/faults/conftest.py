"""A small root whose third hour stands ready: before each of its steps a copy to be killed in, after each the undisturbed tables."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipelines.local.services import down, ensure_mlflow
from pipelines.settings import Settings, load_settings
from tests.faults.small_loop import HOURS, START, STEPS, finish_step, land_history, land_reactions


@dataclass(frozen=True)
class Staged:
    """``before[step]``: the root as it is when the step of the last hour is to run; ``after[step]``: as it left it."""

    before: dict[str, Path]
    after: dict[str, Path]


@pytest.fixture(scope="session")
def mlflow_url(tmp_path_factory) -> Iterator[str]:
    settings = load_settings(tmp_path_factory.mktemp("mlflow-server"), {})
    try:
        yield ensure_mlflow(settings)
    finally:
        down(settings)


@pytest.fixture(scope="session")
def staged(tmp_path_factory, spark_server, mlflow_url) -> Staged:
    folder = tmp_path_factory.mktemp("faults")
    home = folder / "clean"
    home.mkdir()
    values = {
        "lake": {"start_hour": START, "now": "loop"}, "spark": {"remote": spark_server}, "mlflow": {"tracking_uri": mlflow_url},
        "slates": {"size": 5, "candidates": 12, "seen_days": 0}, "policy": {"steps": 5}, "ranker": {"dim": 8, "hidden": 8},
    }  # fmt: skip
    (home / "recloop.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    land_history(home)
    learning = STEPS[2:]
    for step in (STEPS[0], *learning, STEPS[1]):
        finish_step(home, step, HOURS[0])
    for hour in HOURS[1:]:
        land_reactions(home, hour)
        if hour != HOURS[-1]:
            for step in STEPS:
                finish_step(home, step, hour)
    before, after = {}, {}
    for step in STEPS:
        before[step] = Path(shutil.copytree(home, folder / f"before {step}"))
        finish_step(home, step, HOURS[-1])
        after[step] = Path(shutil.copytree(home, folder / f"after {step}"))
    return Staged(before, after)


@pytest.fixture
def root_before(staged, tmp_path, ending_roots) -> Callable[[str], Settings]:
    """A fresh copy of the root as it is before the step."""

    def copy(step: str) -> Settings:
        settings = load_settings(Path(shutil.copytree(staged.before[step], tmp_path / "root with späce")), {})
        ending_roots.append(settings)
        return settings

    return copy
