"""Candidate sets sampled from a log: what may be a positive, what may be a negative, and how often it is drawn."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.ranker.candidate_sampling import Sampler

AT = pd.Timestamp("2026-03-01T10:30", tz="UTC")


def events(*rows):
    """(hours before AT, basket, user, item, liked) each, oldest first."""
    frame = pd.DataFrame(rows, columns=["before_h", "basket", "user", "item", "liked"])
    return frame.assign(ts=AT - pd.to_timedelta(frame.pop("before_h"), unit="h"))


def sets(frame, seed=1, **sampler):
    return Sampler(**{"negatives": 200} | sampler).sets(frame, AT - pd.Timedelta("1h"), AT + pd.Timedelta("1h"), seed)


def items(found, label):
    return set(found["item"][found["label"] == label])


LOG = events(
    (200, "b0", "v", "old", True),
    (50, "b1", "v", "a", True), (50, "b1", "v", "b", False), (49, "b2", "w", "c", True), (48, "b3", "u", "d", True),
    (0.25, "b4", "u", "a", True), (0.25, "b4", "u", "b", False), (0.25, "b4", "u", "new", True),
)  # fmt: skip


def test_positives_are_liked_items_of_the_week_and_negatives_are_of_the_week_and_none_of_the_basket():
    found = sets(LOG)
    assert items(found, 1.0) == {"a"}  # b was not liked, new was taken by nobody before
    assert items(found, 0.0) == {"c", "d"}  # old lies 8 days back
    assert set(found["impression_id"]) == {"b4"} and set(found["user"]) == {"u"}
    assert set(found["ts"]) == {AT - pd.Timedelta("15min")}


def test_unmet_leaves_out_what_the_user_met_before():
    assert items(sets(LOG, unmet=True), 0.0) == {"c"}


def test_what_comes_later_in_the_hour_or_after_it_changes_no_negative():
    later = events((0.1, "b5", "w", "e", True), (-0.9, "b6", "u", "c", True))
    both = pd.concat([LOG, later], ignore_index=True)
    before = sets(LOG, unmet=True)
    after = sets(both, unmet=True)
    assert items(after[after["impression_id"] == "b4"], 0.0) == items(before, 0.0) == {"c"}


def test_negatives_are_drawn_by_the_flattened_counts():
    week = [(30, f"b{n}", f"v{n}", "often" if n < 16 else "once", True) for n in range(17)]
    frame = events((30, "p", "v", "a", True), *week, (0.25, "b", "u", "a", True))
    found = sets(frame, negatives=20_000)
    drawn = found["item"][found["label"] == 0]
    assert (drawn == "often").sum() / (drawn == "once").sum() == pytest.approx(16**0.75, rel=0.05)  # 8


def test_at_most_so_many_positives_and_so_many_draws_for_each():
    frame = events(*[(30, "p", "v", f"i{n}", True) for n in range(50)], *[(0.25, "b", "u", f"i{n}", True) for n in range(30)])
    found = sets(frame, positives=4, negatives=10)
    assert (found["label"] == 1).sum() == 4
    assert 0 < (found["label"] == 0).sum() <= 40 and not items(found, 0.0) & {f"i{n}" for n in range(30)}


def test_the_seed_draws_and_the_share_picks_baskets():
    many = events((30, "p", "v", "a", True), (30, "p", "v", "z", True), *[(0.25, f"b{n}", f"u{n}", "a", True) for n in range(400)])
    found = [sets(many, seed, share=0.5, negatives=1) for seed in (1, 1, 2)]
    assert found[0].equals(found[1]) and not found[0].equals(found[2])
    assert np.isclose(found[0]["impression_id"].nunique(), 200, atol=40)
