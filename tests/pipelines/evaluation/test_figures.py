"""Figures of arms: sets and not rows are averaged, slices are those that were known before, an arm counts where it scored."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.evaluation.figures import Scored, as_record

SETS, USERS = ["s1"] * 3 + ["s2"] * 2 + ["s3"] * 2, ["u"] * 5 + ["v"] * 2
LABELS = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]
BEST = [2.0, 1.0, 0.0, 2.0, 1.0, 2.0, 1.0]
HALF = [1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 1.0]  # AUC a set: 1/2, 0, 1


def scored(known_user=None, **logits):
    table = pa.table({"impression_id": SETS, "user": USERS, "label": LABELS})
    known = np.array(known_user if known_user is not None else [True] * len(LABELS))
    return Scored(table, {name: np.array(values) for name, values in logits.items()}, known, np.ones(len(LABELS), bool))


def test_auc_a_set_counts_each_set_once_and_the_gain_is_its_difference():
    found = scored(best=BEST, half=HALF)
    one = {figures.arm: figures for figures in found.figures()}
    assert (one["best"].auc_per_set, one["half"].auc_per_set) == (1.0, 0.5)
    assert (one["best"].rows, one["best"].users) == (7, 2)
    (gain,) = found.gains("best")
    assert (gain.over, gain.gain, gain.sets) == ("half", 0.5, 3)
    assert gain.low == pytest.approx(0.0) and gain.high == pytest.approx(0.75)  # of v alone, and of u alone


def test_slices_are_there_only_where_both_kinds_are():
    assert {one.slice for one in scored(best=BEST).figures()} == {"all"}
    found = scored([False] * 5 + [True] * 2, best=BEST, half=HALF)
    gains = {gain.slice: gain for gain in found.gains("best")}
    assert set(gains) == {"all", "new users", "known users"}
    assert (gains["new users"].gain, gains["known users"].gain) == (0.75, 0.0)


def test_each_of_several_surfaces_is_a_slice():
    table = scored().table.append_column("surface", pa.array(["home"] * 3 + ["search"] * 2 + [None] * 2))
    found = Scored(table, {"best": np.array(BEST), "half": np.array(HALF)}, np.ones(7, bool), np.ones(7, bool))
    gains = {gain.slice: gain.gain for gain in found.gains("best")}
    assert gains == {"all": 0.5, "surface home": 0.5, "surface search": 1.0}
    rows = as_record({"click": found}, "best")["figures"]
    assert {(row["task"], row["slice"], row["rows"]) for row in rows} == {
        ("click", "all", 7), ("click", "surface home", 3), ("click", "surface search", 2)
    }  # fmt: skip


def test_an_arm_is_compared_where_it_scored():
    nan = float("nan")
    found = scored(best=BEST, late=[nan] * 5 + [0.0, 1.0])
    (gain,) = found.gains("best")
    assert (gain.gain, gain.sets) == (1.0, 1)
    assert {one.arm: one.rows for one in found.figures()} == {"best": 7, "late": 2}


def test_without_a_positive_there_is_no_gain():
    table, known = scored().table.set_column(2, "label", pa.array([0.0] * 7)), np.ones(7, bool)
    found = Scored(table, {"a": np.array(BEST), "b": np.array(HALF)}, known, known)
    assert found.gains("a") == [] and np.isnan(found.figures()[0].auc_per_set)
