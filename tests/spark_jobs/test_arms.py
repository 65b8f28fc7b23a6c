"""Who falls into which arm: shares, independence of hours and salts, and the default user."""

import numpy as np
import pytest

from spark_jobs.arms import arm_of
from spark_jobs.contracts import DEFAULT_USER

USERS = [f"u{n}" for n in range(20_000)]


def test_shares_are_met_and_a_rerun_draws_the_same():
    arm = arm_of(USERS, "trial", 500_000, [0.75, 0.2, 0.05])
    assert np.bincount(arm) / len(USERS) == pytest.approx([0.75, 0.2, 0.05], abs=0.01)
    assert (arm == arm_of(USERS, "trial", 500_000, [0.75, 0.2, 0.05])).all()
    some = np.array([3, 77, 1234])
    assert (arm_of([USERS[n] for n in some], "trial", 500_000, [0.75, 0.2, 0.05]) == arm[some]).all(), "whoever is asked with them"


def test_every_hour_and_every_challenger_draws_anew():
    first = arm_of(USERS, "trial", 500_000, [0.5, 0.5])
    for other in (arm_of(USERS, "trial", 500_001, [0.5, 0.5]), arm_of(USERS, "another", 500_000, [0.5, 0.5])):
        assert np.corrcoef(first, other)[0, 1] == pytest.approx(0.0, abs=0.03)


def test_the_default_user_is_productions_and_one_arm_takes_everybody():
    assert {int(arm_of([DEFAULT_USER], f"salt {n}", n, [0.01, 0.99])[0]) for n in range(50)} == {0}
    assert set(arm_of(USERS[:50], "", 1, [1.0])) == {0} and len(arm_of([], "", 1, [1.0])) == 0
