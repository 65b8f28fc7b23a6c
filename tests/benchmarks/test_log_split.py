"""Which hours load, warm up and are judged."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.ranker.log_split import Split, judged
from pipelines.evaluation.figures import Scored

SPLIT = Split(start="2026-03-01T23", judged="2026-03-04T00", last="2026-03-05T23")


def test_candidates_begin_after_the_first_load_and_settings_are_chosen_in_the_second_half_of_the_warm_up():
    assert [str(at) for at in (SPLIT.since, SPLIT.judged_from, SPLIT.until)] == [
        "2026-03-02 00:00:00+00:00", "2026-03-04 00:00:00+00:00", "2026-03-06 00:00:00+00:00",
    ]  # fmt: skip
    assert SPLIT.chosen_from == "2026-03-03T00"


def test_a_split_without_a_warm_up_is_refused():
    with pytest.raises(ValueError, match="hours to warm up"):
        Split(start="2026-03-01T23", judged="2026-03-02T00", last="2026-03-05T23")


def test_only_what_is_judged_counts_and_an_arm_that_ended_before_is_left_out():
    times = [datetime(2026, 3, 3, 23, 59, tzinfo=UTC), datetime(2026, 3, 4, tzinfo=UTC)]
    table = pa.table({"ts": pa.array(times, pa.timestamp("us", tz="UTC")), "item": ["a", "b"]})
    known = np.array([False, True])
    scored = Scored(table, {"hourly": np.array([1.0, 2.0])}, known, ~known)
    found = judged(scored, {"peer": np.array([np.nan, 3.0]), "gone": np.array([1.0, np.nan])}, SPLIT)
    assert found.table["item"].to_pylist() == ["b"]
    assert {name: values.tolist() for name, values in found.logits.items()} == {"hourly": [2.0], "peer": [3.0]}
    assert found.known_user.tolist() == [True] and found.known_item.tolist() == [False]
