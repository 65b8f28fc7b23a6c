"""What is found in scored rows before they are published: each reason alone, by rows written here, and counts worked by hand."""

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from spark_jobs.business_rules import BusinessRules
from spark_jobs.contracts import DEFAULT_USER, TABLES
from spark_jobs.item_rules import hidden_items
from spark_jobs.score_checks import REASONS, Promise, broken_per_reason, only_showable

AT = datetime(2026, 11, 10, 9, tzinfo=UTC)
ROWS = (
    "user_id string, surface string, position int, item_id string, score double, propensity double, slate_id string, arm string, "
    "release_id string"
)
PROMISE = Promise(3, {"production": ["r2"], "challenger": ["r1"]})
CATALOGUE = [("a", None), ("b", None), ("c", None), ("d", None), ("off", "unavailable"), ("no", "blocked")]


def slate(user, *items, surface="home", **changed):
    row = {"score": 0.5, "propensity": 0.25, "slate_id": f"s-{user}", "arm": "production", "release_id": "r2"} | changed
    return [{"user_id": user, "surface": surface, "position": position, "item_id": item} | row for position, item in enumerate(items)]


SOUND = [*slate(DEFAULT_USER, "a", "b", "c"), *slate("u", "c", "a"), *slate("v", "b", "d", arm="challenger", release_id="r1")]


@pytest.fixture
def found(spark):
    """What was found, less the reasons that were not; and how many rows there were."""

    def check(rows, **promise):
        names = ROWS.replace(",", "").split()[::2]
        frame = spark.createDataFrame([tuple(row[name] for name in names) for row in rows], ROWS)
        items = spark.createDataFrame(CATALOGUE, "item_id string, hidden string")
        counts = broken_per_reason(frame, items, Promise(**(vars(PROMISE) | promise))).first().asDict()
        assert set(counts) == {"rows", *REASONS}
        return {name: count for name, count in counts.items() if count}

    return check


def changed(user, place, **values):
    return [row | values if (row["user_id"], row["position"]) == (user, place) else row for row in SOUND]


def test_of_sound_rows_nothing_is_found(found):
    assert found(SOUND) == {"rows": 7} == found(SOUND, gaps=True)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (changed("u", 1, item_id="c"), {"repeated": 1}),
        (changed("u", 1, position=2), {"misplaced": 1}),
        (changed("u", 1, position=0), {"misplaced": 1}),
        (changed("u", 0, position=-1), {"misplaced": 1}),
        ([*SOUND, *slate("w", "a", "b", "c", "d")], {"overlong": 1}),
        (changed("u", 0, propensity=0.0), {"propensity": 1}),
        (changed("u", 0, propensity=1.0000001), {"propensity": 1}),
        (changed("u", 0, propensity=math.nan), {"propensity": 1}),
        (changed("u", 0, propensity=None), {"propensity": 1}),
        (changed("u", 0, score=math.nan), {"score": 1}),
        (changed("u", 0, score=-math.inf), {"score": 1}),
        (changed("u", 0, score=None), {"score": 1}),
        (changed("u", 0, item_id="gone"), {"unknown": 1}),
        (changed("u", 0, item_id=None), {"unknown": 1, "repeated": 1}),
        (changed("u", 0, item_id="off"), {"unavailable": 1}),
        (changed("u", 0, item_id="no"), {"blocked": 1}),
        (changed("u", 1, slate_id="another"), {"several": 1}),
        ([row for row in SOUND if row["user_id"] != DEFAULT_USER], {"default": 1}),
        ([*SOUND, *slate("u", "a", surface="cart")], {"default": 1}),
        ([], {"default": 1}),
        (changed("u", 0, release_id="r1"), {"undecided": 1}),
        (changed("v", 0, arm="predecessor"), {"undecided": 1}),
        (changed("v", 0, arm=None), {"undecided": 1}),
    ],
)
def test_each_reason_is_found_where_it_is_and_nothing_else(found, rows, expected):
    assert found(rows) == ({"rows": len(rows)} if rows else {}) | expected


def test_counts_are_of_rows_or_of_slates_and_add_up(found):
    twice = [row | {"user_id": user} for user in ("w", "x") for row in slate("w", "no", "no", "gone", propensity=2.0, score=math.inf)]
    assert found([*SOUND, *twice]) == {
        "rows": 13, "repeated": 2, "propensity": 6, "score": 6, "blocked": 4, "unknown": 2,
    }  # fmt: skip


def test_a_slate_with_rows_cut_out_keeps_its_positions(found):
    cut = changed("u", 1, position=2)
    assert found(cut, gaps=True) == {"rows": 7}
    assert found(changed("u", 0, position=1), gaps=True) == {"rows": 7, "misplaced": 1}, "two rows at one position"
    assert found(changed("u", 1, position=3), gaps=True) == {"rows": 7, "misplaced": 1}, "beyond K"


def test_what_is_hidden_goes_and_the_rest_stays_where_it_was(spark):
    rows = [(row["user_id"], row["position"], row["item_id"]) for row in slate("u", "a", "off", "no", "gone", "b", "c")]
    frame = spark.createDataFrame(rows, "user_id string, position int, item_id string")
    items = spark.createDataFrame(CATALOGUE, "item_id string, hidden string")
    left = only_showable(frame, items, 5).toArrow().to_pylist()
    assert sorted((row["position"], row["item_id"]) for row in left) == [(0, "a"), (4, "b")]


def test_the_catalogue_says_why_an_item_is_hidden():
    def item(name, **values):
        return {"item_id": name, "updated_hour": "h", "title": name, "available": True} | values

    items = pa.Table.from_pylist([
        item("z"), item("off", available=False, tags=["gore"]), item("soon", published_at=AT + timedelta(seconds=1)),
        item("now", published_at=AT), item("tag", tags=["new", "gore"]), item("named"), item("few", attributes=[("stock", "1")]),
        item("many", attributes=[("stock", "2")]),
    ], schema=TABLES["items"].schema)  # fmt: skip
    rules = BusinessRules("v", blocked_items=("named", "nowhere"), blocked_tags=("gore",))
    found = {row["item_id"]: row["hidden"] for row in hidden_items(rules, items, AT).to_pylist()}
    unavailable, blocked = dict.fromkeys(("off", "soon"), "unavailable"), dict.fromkeys(("tag", "named"), "blocked")
    assert found == dict.fromkeys(("z", "now", "few", "many")) | unavailable | blocked
    stocked = hidden_items(BusinessRules("v", stock=("stock", 2.0)), items, AT).to_pylist()
    assert [row["item_id"] for row in stocked if row["hidden"] is None] == ["many"]
