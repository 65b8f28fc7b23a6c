import sys

import numpy as np
import pytest

from pipelines.registry.figures import FAIL, PASS, calibration_figure, gates_figure, propensity_figure, training_figure
from pipelines.registry.gates import Figure, Gate
from tests.pipelines.registry.pictures import png, texts


def test_calibration_shows_rates_by_bin_and_tells_the_calibrated_model_from_the_other():
    random = np.random.default_rng(0)
    truth = random.beta(2, 8, 40_000)
    labels = (random.random(40_000) < truth).astype(float)
    picture = calibration_figure(labels, {"production": truth, "doubled": np.minimum(2 * truth, 1)}, bins=10)
    points = [line.get_xydata() for line in picture.axes[0].lines if line.get_marker() == "o"]
    order = np.argsort(truth)
    np.testing.assert_allclose(points[0][:, 0], truth[order].reshape(10, -1).mean(1))
    np.testing.assert_allclose(points[0][:, 1], labels[order].reshape(10, -1).mean(1))
    legend = [text.get_text() for text in picture.axes[0].get_legend().get_texts()]
    ece = [float(text.rpartition(" ")[2]) for text in legend if "debiased ECE" in text]
    assert ece[0] < 0.01 and abs(ece[1] - np.sqrt((truth**2).mean())) < 0.03
    assert "40,000 rows" in texts(picture) and png(picture).startswith(b"\x89PNG")


def test_gates_are_colored_by_outcome_and_shaded_where_allowed():
    nan = float("nan")
    figures = [
        Figure("AUC", "pass", 0.001, -0.001, 0.003, -0.003, 9000),
        Figure("entropy", "fail", 0.01, 0.008, 0.012, 0.005, 9000),
        Figure("value", "abstain", None, None, None, -0.01, 0),
        Figure("broken", "fail", nan, nan, nan, 0.0, 9000),
    ]
    picture = gates_figure(figures, [Gate("AUC", "auc", "low", -0.003, 1000), Gate("entropy", "entropy", "high", 0.005, 10_000)])
    interval = [[line for line in axis.lines if line.get_linewidth() == 3] for axis in picture.axes]
    assert [line[0].get_color() if line else None for line in interval] == [PASS, FAIL, None, None]
    np.testing.assert_allclose(interval[0][0].get_xdata(), [-0.001, 0.003])
    spans = [axis.patches[0].get_extents().transformed(axis.transData.inverted()) for axis in picture.axes[:2]]
    assert spans[0].x0 == pytest.approx(-0.003) and spans[0].x1 > 0.003
    assert spans[1].x1 == pytest.approx(0.005) and spans[1].x0 < 0.005
    shown = texts(picture)
    assert "pass: 0.0010 [-0.0010, 0.0030]  n=9,000" in shown and "n=9,000 of 10,000 needed" in shown
    assert "abstain: not measured" in shown and "fail: nan" in shown
    assert png(picture).startswith(b"\x89PNG") and png(gates_figure([])).startswith(b"\x89PNG")


@pytest.mark.parametrize("steps", [0, 1, 5, 90])
def test_training_of_any_length(steps):
    losses = [1 / (step + 1) for step in range(steps)]
    picture = training_figure(losses, losses)
    assert f"{steps} steps" in texts(picture) and png(picture).startswith(b"\x89PNG")
    means = [line for line in picture.axes[0].lines if line.get_label() == "mean of 20"]
    assert len(means) == (steps > 20)
    if means:
        assert means[0].get_xydata()[0] == pytest.approx([10.5, np.mean(losses[:20])])


def test_a_loss_that_is_not_finite_is_marked():
    picture = training_figure([0.5, float("nan"), 0.4], [1.0, 1.0, float("inf")])
    assert [[line.get_xdata()[0] for line in axis.lines if line.get_color() == FAIL] for axis in picture.axes] == [[2], [3]]


def test_the_audit_marks_the_position_whose_weights_are_off():
    random = np.random.default_rng(2)
    position = np.repeat(np.arange(4), 5000)
    weight = random.lognormal(-0.02, 0.2, len(position)) * np.where(position == 2, 1.1, 1.0)
    logged = random.uniform(0.01, 0.9, len(position))
    good = propensity_figure(position, logged, logged + 1e-9, weight)
    colors = [line.get_color() for line in good.axes[1].lines if line.get_marker() == "o"]
    assert colors == [PASS, PASS, FAIL, PASS]
    assert good.axes[0].title.get_color() == PASS
    assert propensity_figure(position, logged, logged + 1e-4, weight).axes[0].title.get_color() == FAIL


def test_no_state_of_pyplot_is_touched():
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
