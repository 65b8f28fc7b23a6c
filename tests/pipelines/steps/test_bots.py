"""Hours that no person makes are found, and teach and judge nothing."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa

from pipelines.steps.bots import LEAST, bot_rows, of_bots, without_bots

AT = datetime(2026, 11, 10, 8, tzinfo=UTC)


def found(rows):
    """``rows``: user, hour, impressions, clicks. Which of the user-hours are a bot's."""
    user = [name for name, _, n, _ in rows for _ in range(n)]
    ts = [AT + timedelta(hours=hour, seconds=k) for _, hour, n, _ in rows for k in range(n)]
    clicked = np.array([k < clicks for _, _, n, clicks in rows for k in range(n)], dtype=bool)
    mask = of_bots(pa.array(user, pa.string()), pa.array(ts, pa.timestamp("us", "UTC")), clicked)
    starts = np.cumsum([0, *(n for _, _, n, _ in rows)])
    parts = [set(mask[a:b].tolist()) for a, b in pairwise(starts)]
    assert all(len(part) == 1 for part in parts), "an hour of a user is a bot's as a whole"
    return {(name, hour) for (name, hour, _, _), part in zip(rows, parts, strict=True) if part == {True}}


def test_who_clicks_nearly_everything_of_a_long_hour_is_one():
    assert found([("a", 0, 60, 55), ("a", 1, 60, 20), ("b", 0, LEAST, LEAST), ("c", 0, 100, 80)]) == {("a", 0)}


def test_who_sees_more_than_a_thousandth_of_the_others_is_one_where_there_are_so_many():
    people = [(f"u{n}", 0, 3, 1) for n in range(1500)]
    assert found([*people, ("x", 0, 400, 3)]) == {("x", 0)}
    assert found([("u", 0, 60, 1), ("v", 0, 400, 1)]) == set(), "of two hours one is always the longer"


def test_nothing_is_nobody():
    assert of_bots(pa.array([], pa.string()), pa.array([], pa.timestamp("us", "UTC")), np.zeros(0, bool)).tolist() == []


def test_what_was_sampled_is_no_impression():
    ts = [AT + timedelta(seconds=k) for k in range(120)]
    labels = pa.array([{"click": 1.0}] * 120)
    for source, count in ((None, 60), ("sampled", 0)):
        table = pa.table({
            "user_id": ["bot"] * 60 + ["u"] * 60, "ts": pa.array(ts, pa.timestamp("us", "UTC")), "labels": labels,
            "negative_source": pa.array([source] * 60 + ["sampled"] * 60, pa.string()),
        })  # fmt: skip
        assert bot_rows(table, "click").sum() == count and len(without_bots(table, "click")) == 120 - count


def test_a_bots_slates_judge_and_teach_nothing_and_are_counted(log, monkeypatch):
    monkeypatch.setattr("pipelines.steps.bots.LEAST", 2)
    log.slates.reward[:5] = 1.0
    names = set(log.slates.decisions["user_id"].to_pylist()[:5])
    assert log.bots.tolist() == [True] * 5 + [False] * 55
    for reader in (log.learning(1000), log.judging()):
        assert reader is not None and not names & set(reader.shown.decisions["user_id"].to_pylist())
