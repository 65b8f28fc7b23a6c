"""Pictures of a fine-tune: what is drawn is what was measured."""

import math

import numpy as np
import pytest

from pipelines.hours import shift
from pipelines.lake.metrics import Metric
from pipelines.registry.figures import ABSTAIN, FAIL, PASS, SERIES
from pipelines.registry.ranker_charts import auc_figure, slices_figure, steps_figure
from tests.pipelines.registry.pictures import png, texts

HOURS = [shift("2026-11-10T08", n) for n in range(30)]


def points(values, first=0):
    return {HOURS[first + n]: Metric("auc", "x", value, value - 0.1, value + 0.1) for n, value in enumerate(values)}


def test_each_arm_has_its_hours_its_interval_and_what_it_has_over_the_first_release():
    picture = auc_figure({"production": points([0.6, 0.7, 0.8]), "frozen": points([0.5, 0.5]), "lineage": points([0.9], first=2)})
    levels, gains = picture.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in (*levels.lines, *gains.lines)}
    assert lines["production"] == [[0, 0.6], [1, 0.7], [2, 0.8]] and lines["lineage"] == [[2, 0.9]]
    np.testing.assert_allclose(lines["production less frozen"], [[0, 0.1], [1, 0.2]])
    assert "lineage less frozen" not in lines, "no hour has both"
    band = levels.collections[2].get_paths()[0].vertices  # frozen, lineage, production: sorted
    assert (band[:, 1].min(), band[:, 1].max()) == (pytest.approx(0.5), pytest.approx(0.9))
    assert png(picture).startswith(b"\x89PNG")


def test_hours_without_an_interval_or_an_arm_are_drawn_too():
    bare = {hour: Metric("auc", "x", 0.5) for hour in HOURS}
    picture = auc_figure({"production": bare})
    assert len(picture.axes[1].get_xticks()) == 8 and png(picture).startswith(b"\x89PNG")
    assert f"{HOURS[-1][5:10]}\n{HOURS[-1][11:]}h" in texts(picture)
    assert png(auc_figure({})).startswith(b"\x89PNG")


def test_slices_are_colored_by_what_they_show_and_grey_where_too_few_rows_say_so():
    found = [
        Metric("d", "ranker", 0.02, 0.01, 0.03, 9000, "gains"), Metric("d", "ranker", -0.02, -0.03, -0.01, 9000, "loses"),
        Metric("d", "ranker", 0.0, -0.01, 0.01, 9000, "unclear"), Metric("d", "ranker", 0.5, 0.4, 0.6, 30, "thin"),
    ]  # fmt: skip
    picture = slices_figure(found, {"thin": (30, 12)})
    markers = [line for line in picture.axes[0].lines if line.get_marker() == "o"]
    assert [line.get_color() for line in markers] == [PASS, FAIL, SERIES[0], ABSTAIN]
    assert [line.get_xdata()[0] for line in markers] == [0.02, -0.02, 0.0, 0.5]
    labels = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert labels[0] == "gains   n = 9,000" and labels[3] == "thin   n = 30, 12 positive"
    assert png(picture).startswith(b"\x89PNG")


def test_each_layer_has_the_length_of_its_step():
    served, whole = {"all": 0.1, "heads": 0.05, "position_term": math.inf}, {"all": 0.4, "heads": 0.3, "position_term": math.inf}
    picture = steps_figure(served, whole)
    bars = [[bar.get_width() for bar in bars] for bars in picture.axes[0].containers]
    assert bars == [[0.1, 0.05, 0.0], [0.4, 0.3, 0.0]]
    shown = texts(picture)
    assert "5.0%" in shown and "40.0%" in shown and shown.count("from zero") == 2
    assert png(picture).startswith(b"\x89PNG")
    assert len(steps_figure(served, dict(served)).axes[0].containers) == 1, "all that was learned is served"
