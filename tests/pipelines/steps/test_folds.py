from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipelines.hours import shift
from pipelines.steps.folds import in_gate_fold

HOUR = "2026-11-10T08"
USERS = pa.array([f"u{n}" for n in range(5000)])


def test_the_gate_fold_has_its_share_and_is_the_same_for_a_week(settings):
    fold = in_gate_fold(settings, USERS, HOUR)
    assert abs(fold.mean() - settings.gates.fold_share) < 0.02
    hours = [shift(HOUR, n) for n in range(0, 24 * 21, 12)]
    folds = [in_gate_fold(settings, USERS, hour) for hour in hours]
    assert sum(not np.array_equal(a, b) for a, b in pairwise(folds)) == 3


def test_another_week_and_another_seed_put_other_users_there(settings):
    fold = in_gate_fold(settings, USERS, HOUR)
    for other in (
        in_gate_fold(settings, USERS, shift(HOUR, 24 * settings.gates.fold_days)),
        in_gate_fold(settings.model_copy(update={"seed": 8}), USERS, HOUR),
    ):
        assert abs((fold & other).mean() - settings.gates.fold_share**2) < 0.02


def test_a_user_is_in_one_fold_in_whatever_order_and_however_often_asked(settings):
    asked = pa.chunked_array([["u3", "u1"], ["u3", "u2"]])
    by_id = dict(zip(USERS.to_pylist(), in_gate_fold(settings, USERS, HOUR).tolist(), strict=True))
    assert in_gate_fold(settings, asked, HOUR).tolist() == [by_id[user] for user in ("u3", "u1", "u3", "u2")]
    assert len(in_gate_fold(settings, pa.array([], pa.string()), HOUR)) == 0
