"""What a claim's file says of two runs."""

import json

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.ranker import results
from benchmarks.ranker.bench import joined
from pipelines.evaluation.figures import Scored

RIGHT, WRONG = [2.0, 1.0, 2.0, 1.0], [1.0, 2.0, 2.0, 1.0]  # AUC a set: 1 and 1; 0 and 1


@pytest.fixture
def runs():
    table = pa.table({"impression_id": ["s", "s", "t", "t"], "user": ["u", "u", "v", "v"], "label": [1.0, 0.0, 1.0, 0.0]})
    known_user, known_item = np.array([True, True, False, False]), np.ones(4, dtype=bool)

    def run(peer):
        arms = {"hourly": RIGHT, "peer": peer, "peer, as it comes": WRONG, "no peer": WRONG}
        return Scored(table, {name: np.array(values) for name, values in arms.items()}, known_user, known_item)

    return {5: run(WRONG), 6: run(RIGHT)}


def test_a_claim_has_the_gain_of_all_seeds_of_each_seed_and_of_each_slice(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    results.write_gains(
        joined(runs), "log", "a log", {"peer": ("2", 0.3), "gone": ("2", 0.0)}, "two sets",
        by_seed=runs, settings_of={"peer": {"leaves": 3}}, as_default=", as it comes",
    )  # fmt: skip
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text())
    assert path.name == "log_over_peer.json" and found["claim"] == "hourly over peer, a log"
    assert (found["ours"], found["peer"], found["peer_default"], found["peer_setting"]) == (1.0, 0.75, 0.5, {"leaves": 3})
    assert (found["gain"], found["sets"], found["seeds"]) == (0.25, 4, 2)
    assert found["gain_by_seed"] == {"5": 0.5, "6": 0.0}
    assert found["slices"]["known users"]["gain"] == 0.5 and found["slices"]["new users"]["gain"] == 0.0
    assert found["low"] < 0.25 < found["high"] and found["met"] is False
    assert "over no peer" in capsys.readouterr().out
