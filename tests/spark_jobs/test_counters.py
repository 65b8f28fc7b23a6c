import numpy as np
import pyarrow as pa
import pytest

from spark_jobs.contracts import COUNTERS, HALF_LIVES_H
from spark_jobs.counters import CLICK_RATE, CLICK_RATE_BASE, counter_names, decayed, matrix, with_rates

HOUR_US = 3_600_000_000


def row(**values):
    return np.array([[values.get(name, 0.0) for name in COUNTERS]])


def test_a_counter_is_halved_once_a_half_life_and_never_grows():
    counters = row(**{f"clicks_{h}h": 8.0 for h in HALF_LIVES_H})
    after = decayed(np.repeat(counters, 3, axis=0), np.array([0, 0, 48 * HOUR_US]), 24 * HOUR_US)
    at = [COUNTERS.index(f"clicks_{h}h") for h in HALF_LIVES_H]
    assert after[0, at] == pytest.approx([8 * 2.0**-24, 4.0, 8 * 2 ** (-24 / 168), 8 * 2 ** (-24 / 720)])
    assert after[2, at] == pytest.approx([8.0] * 4), "a state that is newer than the instant is taken as it is"


def test_a_missing_counter_is_zero_and_no_rows_are_no_rows():
    columns = {name: pa.array([1.0, None], pa.float64()) for name in COUNTERS}
    assert matrix(pa.table(columns)).tolist() == [[1.0] * len(COUNTERS), [0.0] * len(COUNTERS)]
    assert matrix(pa.table(columns).slice(0, 0)).shape == (0, len(COUNTERS))


def test_rates_are_smoothed_by_twenty_showings_at_one_in_ten():
    counters = np.concatenate([row(), row(impressions_24h=80.0, clicks_24h=28.0, reward_24h=18.0)])
    names = ("clicks_24h", "click_rate_24h", "reward_rate_24h")
    assert with_rates(counters, names).tolist() == pytest.approx(np.array([[0.0, 0.1, 0.1], [28.0, 0.3, 0.2]]))


def test_a_ranker_reads_the_counters_of_its_tasks_and_the_rates():
    names = counter_names(("click", "watch"))
    assert len(names) == len(set(names)) == 4 * len(HALF_LIVES_H) + 4
    assert set(names) - set(COUNTERS) == {"click_rate_24h", "click_rate_168h", "reward_rate_24h", "reward_rate_168h"}
    assert "watchs_168h" in names and "ratings_1h" not in names
    assert CLICK_RATE in names and with_rates(row(), (CLICK_RATE,)).item() == pytest.approx(CLICK_RATE_BASE)
