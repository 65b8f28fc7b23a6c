"""What one encoder gains over another, by numbers worked by hand."""

import numpy as np
import pytest

from pipelines.steps.encoder_judging import _compared

LABELS, USERS = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0, 0, 1, 1])
RIGHT, HALF = np.array([0.9, 0.1, 0.8, 0.2]), np.array([0.1, 0.9, 0.8, 0.2])  # HALF has the first user's items the wrong way round


def test_the_gain_is_the_difference_of_the_users_auc_with_its_interval_over_users():
    """One user gains 1, the other nothing: a standard error of sqrt(.5 / 2) = .5."""
    found = _compared("all items", LABELS, RIGHT, HALF, USERS)
    assert (found.frozen, found.adapted, found.gain) == (0.5, 1.0, 0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - 1.96 * 0.5, 0.5 + 1.96 * 0.5), rel=1e-3)
    assert str(found) == "all items (4 rows of 2 users): AUC per user 1.0000 against 0.5000, +0.5000 [-0.4800, +1.4800]"
    assert _compared("all items", LABELS, HALF, HALF, USERS).high == 0.0


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 1), slice(0, 4, 2)], ids=["none", "one", "clicks alone"])
def test_rows_that_cannot_be_ordered_judge_nothing(rows):
    found = _compared("new items", LABELS[rows], RIGHT[rows], HALF[rows], USERS[rows])
    assert np.isnan(found.gain) and found.rows == len(LABELS[rows])
    assert str(found).endswith("too few to judge by")
