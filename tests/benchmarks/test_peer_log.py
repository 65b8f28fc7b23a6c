"""The kept candidates of a walk."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.ranker.bench import joined
from benchmarks.ranker.peer_log import PeerLog, _Items
from models.records import ItemTable
from pipelines.evaluation.figures import Scored
from spark_jobs.catalogue import Catalogue


def test_a_log_that_is_saved_and_loaded_is_the_same(hour, tmp_path):
    hours = [
        (hour("2026-03-02T00", [[1.0, 2.0]], history=[[0, 3]]), np.array([1.0]), np.array([2])),
        (hour("2026-03-02T05", [[3.0, 4.0], [5.0, 6.0]], [0, 1], [1, 3], [1, 0], [[1, 2], [0, 0]]), np.array([0.0, 1.0]), np.array([0, 1])),
    ]
    vectors = np.arange(8, dtype=np.float32).reshape(4, 2)
    PeerLog(hours, vectors).save(tmp_path / "log.npz")
    found = PeerLog.load(tmp_path / "log.npz")
    assert found.vectors.tolist() == vectors.tolist() and len(found.hours) == 2
    for (known, label, rows), (old, old_label, old_rows) in zip(found.hours, hours, strict=True):
        assert known.hour == old.hour and label.tolist() == old_label.tolist() and rows.tolist() == old_rows.tolist()
        for name in ("counters", "likeness", "group", "item", "user", "history"):
            assert getattr(known, name).tolist() == getattr(old, name).tolist()
    assert [one.hour for one, *_ in found.until("2026-03-02T05").hours] == ["2026-03-02T00"]


def test_rows_stay_while_the_catalogue_grows_and_texts_are_those_first_met():
    def catalogue(vectors):
        none = torch.zeros(1)
        return Catalogue(pa.array(sorted(vectors)), ItemTable.from_numpy(np.array([vectors[name] for name in sorted(vectors)])),
                         none, np.zeros(1), np.zeros(1, bool), np.zeros(1, np.uint64), pa.array([], pa.string()))  # fmt: skip

    items = _Items()
    assert items.rows(catalogue({"b": [1.0, 1.0], "d": [2.0, 2.0]})).tolist() == [0, 1, 2]
    assert items.rows(catalogue({"a": [3.0, 3.0], "b": [9.0, 9.0], "d": [2.0, 2.0]})).tolist() == [0, 3, 1, 2]
    assert items.vectors().tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]


def test_runs_of_two_seeds_are_one_with_sets_of_their_own():
    """AUC of the set s is 1 in the first run and 0 in the second; as one set of both it would be neither."""

    def run(scores, **more):
        table = pa.table({"impression_id": ["s", "s"], "user": ["u", "u"], "label": [1.0, 0.0]})
        known = np.ones(2, dtype=bool)
        return Scored(table, {"hourly": np.array(scores), "peer": np.zeros(2), **more}, known, known)

    found = joined({5: run([2.0, 1.0]), 6: run([3.0, 4.0], only_here=np.zeros(2))})
    (hourly, _) = found.figures()
    assert set(found.logits) == {"hourly", "peer"}
    assert hourly.auc_per_set == 0.5 and hourly.rows == 4
    (gain,) = found.gains("hourly")
    assert gain.sets == 2 and gain.gain == pytest.approx(0.0)
