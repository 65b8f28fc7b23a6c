"""The click farm of the closed loop's benchmark, and what its branches say of each other."""

import numpy as np
import pytest

from benchmarks.closed_loop import drift_and_poison
from benchmarks.closed_loop.branches import Played
from benchmarks.closed_loop.click_farm import poison
from pipelines.local.landing import pack, unpack, write_file
from pipelines.settings import load_settings

HOUR = "2026-03-02T10"
USERS, SHOWN, AT = 200, 3, "2026-03-02T10:00:01+00:00"


@pytest.fixture
def landed(tmp_path):
    """The root of an hour in which every user was shown three items and clicked the first."""
    settings = load_settings(tmp_path, {})
    shown = [
        {"event_id": f"e{u}-{n}", "request_id": f"r{u}", "user_id": f"u{u}", "item_id": f"i{n}", "ts": AT, "position": n}
        for u in range(USERS) for n in range(SHOWN)
    ]  # fmt: skip
    clicks = [{"event_id": f"c{u}", "type": "click", "request_id": f"r{u}", "user_id": f"u{u}", "item_id": "i0"} for u in range(USERS)]
    for kind, records in (("impressions", shown), ("feedback", clicks)):
        write_file(settings.landing / kind / f"{HOUR}.jsonl.gz", pack(records))
    return settings


def test_half_of_the_visitors_click_on_everything_else_that_they_were_shown(landed):
    count = poison(landed, HOUR)
    clicks = unpack(landed.landing / "feedback" / f"{HOUR}-farm.jsonl.gz")
    farm = {click["user_id"] for click in clicks}
    assert len(clicks) == count == len(farm) * (SHOWN - 1)
    assert 0.35 * USERS < len(farm) < 0.65 * USERS
    assert {click["item_id"] for click in clicks} == {"i1", "i2"} and {click["type"] for click in clicks} == {"click"}
    assert len({click["event_id"] for click in clicks}) == count
    assert poison(landed, HOUR) == count  # the same file again


def test_a_difference_is_per_slate_and_resamples_users():
    alike = drift_and_poison.difference([np.array([0.5, 0.5, 0.5])], [["u", "u", "v"]])
    assert alike == pytest.approx((0.5, 0.5, 0.5))
    users = [["u"] * 15 + ["v"] * 15, [f"w{n}" for n in range(10)]]
    found = drift_and_poison.difference([np.ones(30), np.zeros(10)], users)
    assert found == pytest.approx((0.75, 0.75, 0.75)), "each seed keeps its share"
    _, low, high = drift_and_poison.difference([np.array([1.0, -1.0] * 50)], [[f"u{n}" for n in range(100)]])
    assert -0.25 < low < -0.1 and 0.1 < high < 0.25  # 1.96 / sqrt(100)


def test_branches_of_other_users_are_refused():
    branch = Played(("loop",), ["h", "h"], ["u", "v"], np.zeros((2, 1)), ("r1",), ())
    other = Played(("loop",), ["h", "h"], ["u", "w"], np.zeros((2, 1)), ("r1",), ())
    drift_and_poison.check_paired({"as it is": branch, "poisoned": branch})
    with pytest.raises(RuntimeError, match="different users"):
        drift_and_poison.check_paired({"as it is": branch, "poisoned": other})
