"""What a search says at its end: the gain on hours that chose nothing, and lines that ``recloop.yaml`` takes."""

import math

import pytest
import yaml

from pipelines.local.tune_screen import lines
from pipelines.registry.gates import Measured
from pipelines.settings import load_settings
from pipelines.steps.tune_ranker import Tuned
from pipelines.steps.tune_space import TuneHours, present

HOURS = [f"2026-11-10T{n:02}" for n in range(8, 18)]
WINDOW = TuneHours(HOURS, HOURS[1:8], HOURS[8:])
BEST = {"bootstrap_lr": 0.00234567, "lr": 0.000412, "batch_size": 300, "replay_ratio": 1.25, "dim": 40, "hidden": 90}
COUNTS = {"complete": 9, "pruned": 4, "fail": 1, "running": 0, "waiting": 0}


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path, {})


def test_a_gain_that_is_shown_comes_with_settings_that_load(settings, tmp_path):
    found = lines(settings, Tuned(WINDOW, BEST, 0.66125, 0.65, Measured(0.0102, 0.0034, 0.0171, 1234), COUNTS))
    text = "\n".join(found)
    assert "9 trials finished, 4 stopped early, 1 failed" in text
    assert "on 7 hours from 2026-11-10T09 to 2026-11-10T15: best 0.6613, present settings 0.6500" in text
    assert "gain on 2 later hours that chose nothing, 1,234 users: +0.0102 [+0.0034, +0.0171]" in text
    (tmp_path / "recloop.yaml").write_text("\n".join(found[found.index("ranker:") :]))
    loaded = present(load_settings(tmp_path, {}))
    assert loaded == BEST | {"bootstrap_lr": 0.00235}
    assert yaml.safe_load("\n".join(found[found.index("ranker:") :]))["ranker"].keys() == BEST.keys()


def test_a_gain_that_is_not_shown_says_to_keep_what_is_there(settings):
    found = lines(settings, Tuned(WINDOW, BEST, 0.66, math.nan, Measured(0.002, -0.001, 0.005, 99), COUNTS))
    assert any("that gain is not shown: keep the present settings" in line for line in found)
    assert "present settings 0" not in "\n".join(found), "the present settings were no finished trial"


def test_present_settings_that_were_the_best_are_no_advice(settings):
    found = lines(settings, Tuned(WINDOW, present(settings), 0.66, 0.66, None, COUNTS))
    assert found[-1] == "nothing was better than the present settings" and "ranker:" not in found
