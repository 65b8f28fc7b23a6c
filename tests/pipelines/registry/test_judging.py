"""The test-then-train record: the first task on all rows and on slices, each further task on all rows."""

import numpy as np
import pyarrow as pa

from pipelines.lake.metrics import GATE_FOLD, Metric
from pipelines.registry.judging import SURFACES, Predicted, prequential_record, surface_rows, task_columns
from pipelines.registry.runs import metric_key

LABELS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
SAID = np.array([[0.9, 0.1], [0.2, 0.4], [0.1, 0.2], [0.3, 0.3]])  # the first user's in order, the second's not
FIRST_HALF = np.array([True, True, False, False])


def record(slices):
    found = Predicted(("click", "purchase"), LABELS, {"production": SAID}, np.array([0, 0, 1, 1]), slices)
    return {(row.slice, row.name.removeprefix("prequential_")): row for row in prequential_record(found, {"production": "3"})}


def test_each_slice_and_each_task_has_figures_of_its_own():
    rows = record({"cold users": FIRST_HALF, "warm users": ~FIRST_HALF})
    aucs = {part: row.value for (part, name), row in rows.items() if name == "auc_per_user"}
    assert aucs == {"all": 0.5, "cold users": 1.0, "warm users": 0.0, "task purchase": 1.0}
    assert {part: row.n for (part, name), row in rows.items() if name == "auc"} == {
        "all": 4, "cold users": 2, "warm users": 2, "task purchase": 4
    }  # fmt: skip
    assert {row.model_version for row in rows.values()} == {"3"}


def test_rows_of_one_kind_have_no_figures():
    assert {part for part, _ in record({"clicked": LABELS[:, 0] > 0})} == {"all", "task purchase"}


def test_a_ranker_that_does_not_know_a_task_says_nothing_of_it():
    found = task_columns(SAID, ("click", "purchase"), ("purchase", "share"))
    assert found[:, 0].tolist() == SAID[:, 1].tolist() and np.isnan(found[:, 1]).all()


def test_the_largest_surfaces_are_told_apart():
    surfaces = pa.array(["home", None, "search", "home", *(f"s{n:02}" for n in range(20))])
    rows = surface_rows(surfaces)
    assert list(rows)[:3] == ["home", "s00", "s01"] and len(rows) == SURFACES
    assert np.flatnonzero(rows["home"]).tolist() == [0, 3]


def test_a_slice_is_a_group_in_mlflow_whatever_it_is_called():
    assert metric_key(Metric("auc", "production", 0.7)) == "auc.production"
    assert metric_key(Metric("gate_auc", "ranker", 0.7, slice=GATE_FOLD)) == "gate_auc.ranker"
    assert metric_key(Metric("auc", "production", 0.7, slice="surface a/b?")) == "surface a_b_/auc.production"
