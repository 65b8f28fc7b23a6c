"""Intervals of AUC per user: around the figure, as wide as the users differ, and nothing where nothing can be told."""

import numpy as np
import pytest

from models.metrics import auc_per_user
from pipelines.registry.auc_intervals import LEAST_ROWS, Resampled, slice_differences, thin_slices
from pipelines.registry.judging import Predicted, prequential_record

# of users with 2 rows each one is clicked: the AUC of a user is 1 where it has the higher score, else 0
ORDERED, REVERSED = [0.2, 0.8], [0.8, 0.2]


def users_of(orders):
    """Labels, scores and users (n,) of one user a pair of scores."""
    return np.tile([0.0, 1.0], len(orders)), np.array(orders).ravel(), np.repeat(np.arange(len(orders)), 2)


def auc_interval(labels, scores, user):
    return Resampled(user).auc_interval(labels, scores, np.ones(len(user), dtype=bool))


def test_users_who_are_all_alike_leave_no_doubt():
    assert auc_interval(*users_of([ORDERED] * 50)) == (1.0, 1.0)
    assert auc_interval(*users_of([REVERSED] * 50)) == (0.0, 0.0)


def test_the_interval_is_that_of_a_share_of_users():
    found = users_of([ORDERED] * 280 + [REVERSED] * 120)
    low, high = auc_interval(*found)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert auc_per_user(*found) == pytest.approx(0.7)
    assert (low, high) == (pytest.approx(0.7 - half, abs=0.012), pytest.approx(0.7 + half, abs=0.012))


def test_rows_of_a_user_are_no_evidence_of_their_own():
    labels, scores, user = users_of([ORDERED] * 280 + [REVERSED] * 120)
    alone, crowded = auc_interval(labels, scores, user), auc_interval(labels, scores, user // 20)
    assert crowded[1] - crowded[0] > 1.5 * (alone[1] - alone[0])


def test_the_record_has_an_interval_for_each_auc_per_user_and_for_nothing_else():
    labels, scores, user = users_of([ORDERED] * 60 + [REVERSED] * 40)
    first = user < 60
    both = {"production": np.stack([scores, 1 - scores], 1), "frozen": np.full((len(labels), 2), 0.5)}
    found = Predicted(("click", "watch"), np.stack([labels, labels], 1), both, user, {"warm users": first, "cold users": ~first})
    rows = prequential_record(found, {})
    of_auc = {(row.subject, row.slice): row for row in rows if row.name == "prequential_auc_per_user"}
    assert {row.name for row in rows if row.low is not None} == {"prequential_auc_per_user"}
    production = {name: (row.low, row.value, row.high) for (arm, name), row in of_auc.items() if arm == "production"}
    assert production["warm users"] == (1.0, 1.0, 1.0) and production["cold users"] == (0.0, 0.0, 0.0)
    (low, value, high), (task_low, task_value, task_high) = production["all"], production["task watch"]
    assert (value, task_value) == (pytest.approx(0.6), pytest.approx(0.4)) and low < value < high
    assert (1 - task_high, 1 - task_low) == (pytest.approx(low), pytest.approx(high))
    assert {(row.low, row.value, row.high) for (arm, _), row in of_auc.items() if arm == "frozen"} == {(0.5, 0.5, 0.5)}


def test_a_task_that_a_ranker_does_not_know_has_no_figure():
    labels, scores, user = users_of([ORDERED, REVERSED])
    said = np.stack([scores, np.full(len(scores), np.nan)], 1)
    rows = prequential_record(Predicted(("click", "watch"), np.stack([labels, labels], 1), {"frozen": said}, user, {}), {})
    assert {row.slice for row in rows} == {"all"}


def test_differences_are_by_slice_with_the_rows_that_they_rest_on():
    labels, new, user = users_of([ORDERED] * 30 + [REVERSED] * 10)
    old = users_of([REVERSED] * 30 + [REVERSED] * 10)[1]
    parts = {"gains": user < 30, "same": user >= 30, "clicked": labels > 0}
    found = {row.slice: (row.value, row.low, row.high, row.n) for row in slice_differences(labels, new, old, user, parts)}
    assert found == {"gains": (1.0, 1.0, 1.0, 60), "same": (0.0, 0.0, 0.0, 20)}


def test_a_slice_of_few_rows_or_few_positives_is_thin():
    labels = np.zeros(3 * LEAST_ROWS)
    labels[: 2 * LEAST_ROWS : 2] = 1.0
    row = np.arange(len(labels))
    parts = {"enough": row < LEAST_ROWS, "few rows": row < LEAST_ROWS - 1, "few positives": row >= 2 * LEAST_ROWS - 398}
    assert thin_slices(labels, parts) == {
        "few rows": (LEAST_ROWS - 1, LEAST_ROWS // 2), "few positives": (LEAST_ROWS + 398, 199)
    }  # fmt: skip
