"""How a peer's setting is chosen, and that no peer is told before it predicts."""

import numpy as np
import pytest

from benchmarks.ranker.contest import AS_DEFAULT, Contender, chosen, contenders, logits_of, search
from benchmarks.ranker.log_split import Split
from benchmarks.ranker.peer_log import PeerLog, auc_within_sets, told

SPLIT = Split(start="2026-03-01T23", judged="2026-03-02T04", last="2026-03-02T05")


class Remembering:
    """Predicts ``factor`` times the counter, and refuses to be told of an hour that it did not predict, or twice."""

    def __init__(self, factor=1.0):
        self.factor, self.calls = factor, []

    def predict(self, candidates):
        self.calls.append(("predict", candidates.hour))
        return self.factor * candidates.counters[:, 0] if len(self.calls) > 1 else None

    def observe(self, candidates, label):
        self.calls.append(("observe", candidates.hour))


@pytest.fixture
def log(hour):
    """Hours 00 to 05 of three rows; until 03 the counter orders against the labels, from 04 on with them."""
    label, hours = np.array([1.0, 0.0, 0.0]), []
    for number in range(6):
        values = [[0.0], [1.0], [2.0]] if number < 4 else [[2.0], [1.0], [0.0]]
        hours.append((hour(f"2026-03-02T0{number}", values), label, np.arange(3) + 3 * (5 - number)))
    return PeerLog(hours, np.zeros((1, 2), dtype=np.float32))


def test_each_hour_is_predicted_before_it_is_told_and_rows_keep_their_place(log):
    peer = Remembering()
    found = told(peer, log, 18)
    hours = [f"2026-03-02T0{number}" for number in range(6)]
    assert peer.calls == [(call, hour) for hour in hours for call in ("predict", "observe")]
    assert np.isnan(found[15:]).all()  # the first hour is at the end of the file
    assert found[:3].tolist() == [2.0, 1.0, 0.0] and found[12:15].tolist() == [0.0, 1.0, 2.0]


def test_the_figure_is_of_the_hours_since_and_of_what_was_predicted(log):
    found = told(Remembering(), log, 18)
    assert auc_within_sets(log, found, "2026-03-02T00") == pytest.approx(2 / 5)  # hours 01 to 05, two of them right
    assert auc_within_sets(log, found, "2026-03-02T04") == 1.0
    assert np.isnan(auc_within_sets(log, np.full(18, np.nan), "2026-03-02T00"))


def test_a_setting_is_chosen_by_the_warm_up_and_not_by_what_is_judged(log, tmp_path):
    made = []

    def make(of, factor):
        made.append((len(of.hours), Remembering(factor)))
        return made[-1][1]

    contender = Contender("p", make, {"factor": 1.0}, (({"factor": -1.0}, {"factor": 3.0}),))
    choice = chosen(contender, log, SPLIT, 18, tmp_path / "p.json")
    assert choice.setting == {"factor": -1.0} and [value for _, value in choice.tried] == [0.0, 1.0, 0.0]
    assert {hours for hours, _ in made} == {4}  # a peer that is being chosen never sees a judged hour
    assert chosen(contender, log, SPLIT, 18, tmp_path / "p.json") == choice and len(made) == 3
    found = dict(logits_of(contender, log, choice, 18, tmp_path / "logits"))
    assert list(found) == ["p", "p" + AS_DEFAULT]
    assert found["p"][:3].tolist() == [-2.0, -1.0, 0.0] and found["p" + AS_DEFAULT][:3].tolist() == [2.0, 1.0, 0.0]


def test_the_search_goes_on_from_the_best_so_far_and_a_tie_changes_nothing():
    values = {(1, 1): 0.5, (2, 1): 0.6, (3, 1): 0.6, (2, 2): float("nan"), (2, 3): 0.7}
    default = {"a": 1, "b": 1}
    found = search(default, (({"a": 2}, {"a": 3}), ({"b": 1}, {"b": 2}, {"b": 3})), lambda one: values[one["a"], one["b"]])
    assert found.setting == {"a": 2, "b": 3}
    assert [tuple(setting.values()) for setting, _ in found.tried] == list(values)
    assert search(default, (({"a": 2},),), lambda one: float("nan")).setting == default
    assert search(default, (({"a": 2},),), lambda one: 0.1 if one["a"] == 2 else float("nan")).setting == {"a": 2, "b": 1}


def test_popularity_chooses_among_the_counters_that_are_named():
    names = ("impressions_24h", "ratings_24h", "ratings_168h", "ratings", "reward_24h", "reward_rate_24h")
    assert contenders(names, "ratings|reward")[0].make(None)._columns == [1, 2, 4]
