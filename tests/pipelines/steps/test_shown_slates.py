from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import UserError
from pipelines.evaluation.decision_log import judged
from pipelines.hours import end_of, shift
from pipelines.local.decisions import shown_decisions
from pipelines.steps.shown_slates import read_shown_slates

DRAWN = "2026-11-10T08"
SHOWN = shift(DRAWN, 1)
VERSIONS = {"encoder": "1", "ranker": "1", "policy": "1"}
COUNTERLESS = {"user": {"recent": []}, "item": {}}


def decision(slate, user="u1"):
    return {
        "slate_id": slate, "user_id": user, "surface": "home", "hour": DRAWN, "candidates": ["a", "b", "c", "d"],
        "logits": [2.0, 1.0, 0.5, 0.0], "action": [0, 1, 2], "propensities": [0.5, 0.5, 0.6], "scores": [0.1, 0.1, 0.1],
        "nearest_seen": [], "user_vector": [0.0], "candidate_features": [0.0], "temperature": 0.35, "rules": "r", "seed": 7,
        "arm": "production", "arm_share": 1.0, "source": "policy", "release_id": "r000001", "versions": VERSIONS, "feature_versions": [],
    }  # fmt: skip


def logged(slate, items=("a", "b", "c")):
    row = {"slate_id": slate, "user_id": "u1", "surface": "home", "propensity": 0.5, "score": 0.1, "source": "policy", "hour": DRAWN}
    return [row | {"position": position, "item_id": item} for position, item in enumerate(items)]


def example(slate, position, item, reward=0.0, revision=0, number=0, hour=SHOWN):
    at = end_of(hour) - timedelta(minutes=30)
    return {
        "example_id": f"{slate}-{position}-{number}", "revision": revision, "user_id": "u1", "item_id": item, "ts": at, "known_at": at,
        "position": position, "surface": "home", "slate_id": slate, "labels": {}, "reward": reward, "reward_version": "v",
        "hour": hour, **COUNTERLESS,
    }  # fmt: skip


@pytest.fixture
def read(settings, write):
    def answer(examples, hours=(SHOWN,), slates=("s1", "s2")):
        versions = {
            "slate_decisions": write("slate_decisions", [decision(slate) for slate in slates]),
            "slate_log": write("slate_log", [row for slate in slates for row in logged(slate)]),
            "training_examples": write("training_examples", examples),
        }
        found = read_shown_slates(settings, list(hours), versions)
        order = np.argsort(found.decisions["slate_id"].to_pylist())
        return found.take(order)

    return answer


def test_a_slate_counts_down_to_the_last_position_seen_without_a_gap(read):
    found = read([example("s1", 0, "a"), example("s1", 1, "b"), example("s2", 0, "a"), example("s2", 2, "c", reward=1.0)])
    assert found.shown.tolist() == [[True, True, False], [True, False, False]]
    assert found.reward.sum() == 0.0 and found.mismatched == 0


def test_another_item_than_drawn_ends_the_slate_and_is_counted(read):
    found = read([example("s1", 0, "a", reward=0.2), example("s1", 1, "x", reward=0.5), example("s1", 2, "c", reward=0.5)])
    assert found.decisions["slate_id"].to_pylist() == ["s1"]
    assert found.shown.tolist() == [[True, False, False]] and found.mismatched == 1
    assert found.reward[0].tolist() == pytest.approx([0.2, 0.0, 0.0])


def test_the_reward_is_that_of_the_last_revision_summed_over_showings(read):
    later = shift(SHOWN, 1)
    found = read(
        [
            example("s1", 0, "a", reward=0.2),
            example("s1", 0, "a", reward=0.7, revision=1, hour=later),
            example("s1", 0, "a", reward=0.1, number=1, hour=later),
        ],
        hours=(SHOWN, later),
    )
    assert found.reward[0].tolist() == pytest.approx([0.8, 0.0, 0.0])


def test_a_slate_nobody_saw_is_not_there(read):
    assert read([example("s1", 0, "a")]).decisions["slate_id"].to_pylist() == ["s1"]


def test_one_heavy_slate_is_capped_at_the_quantile(read):
    slates = [f"s{n:03d}" for n in range(400)]
    examples = [example(slate, 0, "a", reward=0.5) for slate in slates[:-1]] + [example(slates[-1], 0, "a", reward=300.0)]
    reward = read(examples, slates=slates).reward.sum(axis=1)
    assert np.allclose(reward[:-1], 0.5) and 0.5 <= reward[-1] < 2.0


def test_the_log_of_decisions_is_what_was_seen_of_the_draws_and_is_judged_as_it_stands(settings, read, note_done, tmp_path):
    """A copy of the policy that drew earns what the log earned."""
    with pytest.raises(UserError, match="no hour was built under"):
        shown_decisions(settings, 24)
    note_done(settings, "build_examples", [SHOWN])
    read([example("s1", 0, "a", reward=0.25), example("s1", 1, "b"), example("s2", 0, "a", reward=0.25), example("s2", 2, "c")])
    rows = shown_decisions(settings, 24).sort_by([("slate_id", "ascending"), ("position", "ascending")])
    names = ("slate_id", "position", "user", "item_id", "reward", "propensity")
    assert list(zip(*(rows[name].to_pylist() for name in names), strict=True)) == [
        ("s1", 0, "u1", "a", 0.25, 0.5), ("s1", 1, "u1", "b", 0.0, 0.5), ("s2", 0, "u1", "a", 0.25, 0.5),
    ]  # fmt: skip
    draw = [(["a", "b", "c", "d"], [2.0, 1.0, 0.5, 0.0])]
    assert list(zip(rows["candidates"].to_pylist(), rows["behavior_logits"].to_pylist(), strict=True)) == [*draw, (None, None), *draw]
    target = pa.table({"target_propensity": [0.5, 0.25, 0.5]})
    for name, table in (("log", rows), ("policy", target)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = judged(tmp_path / "log.parquet", tmp_path / "policy.parquet", ("rips", "sips"), float("inf"), 0.0, True).result
    assert found.values["rips"].mean == found.earned.mean == pytest.approx(0.25) and found.mean_weight == pytest.approx(0.75)
    assert found.values["sips"].mean == pytest.approx(0.1875)


def test_without_a_slate_that_was_shown_there_is_no_log(settings, read, note_done):
    note_done(settings, "build_examples", [SHOWN])
    read([example("s1", 1, "b")])
    with pytest.raises(UserError, match="no slate of recloop's was shown in the 24 hours up to"):
        shown_decisions(settings, 24)
