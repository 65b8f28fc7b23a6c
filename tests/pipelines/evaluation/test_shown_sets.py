"""Candidate sets out of the log's own examples: what was shown, with the newest labels."""

from datetime import timedelta

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from pipelines.errors import UserError
from pipelines.evaluation.shown_sets import shown_candidates
from pipelines.hours import parse_hour, shift
from pipelines.lake.tables import table_path
from spark_jobs.contracts import TABLES

START = "2026-11-10T08"
FIRST, SECOND, THIRD = (shift(START, n) for n in (1, 2, 3))


def example(name, hour, click, revision=0, arrived=None, **values):
    at = parse_hour(hour)
    known = {
        "example_id": name, "revision": revision, "user_id": "u", "item_id": f"i-{name}", "ts": at + timedelta(minutes=5), "known_at": at,
        "position": 0, "labels": {"click": click, "watch": 1.0}, "reward": 0.0, "reward_version": "v", "user": {"recent": []}, "item": {},
        "hour": arrived or hour,
    }  # fmt: skip
    return known | values


@pytest.fixture
def write(settings):
    def to_table(rows):
        table = pa.Table.from_pylist(rows, schema=TABLES["training_examples"].schema)
        write_deltalake(str(table_path(settings, "training_examples")), table)

    return to_table


def test_slates_of_hours_that_say_what_was_shown_with_late_clicks(settings, write):
    write([
        example("old", START, 1.0), example("bought", FIRST, 1.0), example("drawn", FIRST, 0.0, negative_source="sampled"),
        example("b", SECOND, 0.0, slate_id="s2"), example("b", SECOND, 1.0, revision=1, arrived=THIRD, slate_id="s2"),
        example("a", SECOND, 0.0, slate_id="s1", query="red shoes", surface="home"), example("c", THIRD, 0.0),
        example("gone", SECOND, 1.0, revision=2, arrived=THIRD),
    ])  # fmt: skip
    found = shown_candidates(settings, ("click", "watch")).to_pylist()
    assert [(row["impression_id"], row["user"], row["item"], row["label"]) for row in found] == [
        ("s1", "u", "i-a", 0.0), ("s2", "u", "i-b", 1.0), (f"u {THIRD}:05:00.000000Z", "u", "i-c", 0.0)
    ]  # fmt: skip
    assert [row["query"] for row in found] == ["red shoes", None, None]
    assert [row["label_watch"] for row in found] == [1.0, 1.0, 1.0] and [row["surface"] for row in found] == ["home", None, None]


def test_a_log_without_impressions_asks_for_candidates(settings, write):
    write([example("bought", FIRST, 1.0), example("drawn", FIRST, 0.0, negative_source="sampled")])
    with pytest.raises(UserError, match="give candidate sets with --candidates FILE"):
        shown_candidates(settings, ("click",))
