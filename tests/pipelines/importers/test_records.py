"""Every shape of log, a few rows each, and by hand the records that they mean."""

import pytest

from pipelines.importers.records import records_of

WHO = {"user_id": "u", "item_id": "i", "ts": "t"}
T, AT = "2026-11-23T20:00:00Z", "2026-11-23T20:00:00+00:00"
REACTED = {"user_id": "u1", "item_id": "m1", "ts": AT}


@pytest.fixture
def mapped(source):
    """What rows say by a mapping, as (kind, record)."""

    def run(rows, **values):
        one = source(**{**WHO, **values})
        return [found for number, row in enumerate(rows, start=1) for found in records_of(row, one, "f" * 64, number)]

    return run


def row(**cells):
    return {"u": "u1", "i": "m1", "t": T} | cells


def test_long_with_a_column_of_types(mapped):
    rows = [row(a="buy", v="9.50"), row(a="click", v=""), row(a="stare", v="")]
    kinds = {"column": "a", "values": {"buy": "purchase"}}
    assert mapped(rows, feedback=[{"type": kinds, "value": "v"}]) == [
        ("feedback", REACTED | {"type": "purchase", "value": 9.5}),
        ("feedback", REACTED | {"type": "click"}),
        ("feedback", REACTED | {"type": "stare"}),
    ]


def test_long_with_impressions_among_the_types(mapped):
    rows = [row(a="show", p="1"), row(a="click", p="1"), row(a="scroll", p="")]
    found = mapped(
        rows,
        impressions={"position": "p", "first_position": 1, "where": {"column": "a", "one_of": ["show"]}},
        feedback=[{"type": "a", "where": {"column": "a", "one_of": ["click", "like"]}}],
    )
    assert found == [("impressions", REACTED | {"position": 0}), ("feedback", REACTED | {"type": "click"})]


def test_of_several_conditions_all_must_hold(mapped):
    rows = [row(q="2", a="buy"), row(q="-2", a="buy"), row(q="2", a="return"), row(q="", a="buy")]
    kept = [{"type": {"constant": "purchase"}, "value": "q", "where": ["q", {"column": "a", "one_of": ["buy"]}]}]
    assert mapped(rows, feedback=kept) == [("feedback", REACTED | {"type": "purchase", "value": 2})]


def test_wide_where_one_row_is_an_impression_and_what_came_of_it(mapped):
    constant = lambda name: {"constant": name}  # noqa: E731
    later = "2026-11-23T21:00:00Z"
    rows = [row(r="r1", clicked="1", bought="", seconds="12.5"), row(r="r2", clicked="0", bought=later, seconds="0")]
    found = mapped(
        rows,
        request_id="r",
        impressions={"position": constant(0)},
        feedback=[
            {"type": constant("click"), "where": "clicked"},
            {"type": constant("purchase"), "where": "bought", "ts": "bought"},
            {"type": constant("watch"), "where": "seconds", "value": "seconds"},
        ],
    )
    assert found == [
        ("impressions", REACTED | {"request_id": "r1", "position": 0}),
        ("feedback", REACTED | {"request_id": "r1", "type": "click"}),
        ("feedback", REACTED | {"request_id": "r1", "type": "watch", "value": 12.5}),
        ("impressions", REACTED | {"request_id": "r2", "position": 0}),
        ("feedback", REACTED | {"request_id": "r2", "type": "purchase", "ts": "2026-11-23T21:00:00+00:00"}),
    ]


def test_baskets_give_one_purchase_a_part(mapped):
    rows = [row(i="m1| m2||m3 "), row(i=""), row(i=["m4", None, 5])]
    found = mapped(rows, split={"column": "i", "separator": "|"}, feedback=[{"type": {"constant": "purchase"}}])
    assert [record["item_id"] for _, record in found] == ["m1", "m2", "m3", "m4", "5"]


def test_a_list_that_was_shown_gives_its_places(mapped):
    found = mapped(
        [row(i="m7 m8", s="s1")], split={"column": "i", "separator": " ", "number_as": "place"},
        impressions={"position": "place", "slate_id": "s"},
    )  # fmt: skip
    assert [(record["item_id"], record["position"], record["slate_id"]) for _, record in found] == [("m7", 0, "s1"), ("m8", 1, "s1")]


def test_a_basket_of_objects(mapped):
    rows = [row(lines=[{"sku": 1, "paid": 2.5}, {"sku": 2, "paid": 0}])]
    bought = {"type": {"constant": "purchase"}, "value": "lines.paid"}
    found = mapped(rows, split={"column": "lines"}, item_id="lines.sku", feedback=[bought])
    assert [(record["item_id"], record["value"]) for _, record in found] == [("1", 2.5), ("2", 0)]


def test_ratings(mapped):
    found = mapped([row(s="4,5")], decimal=",", feedback=[{"type": {"constant": "rating"}, "value": "s"}])
    assert found == [("feedback", REACTED | {"type": "rating", "value": 4.5})]


def test_all_that_an_impression_may_carry(mapped):
    every = {
        "event_id": "e", "request_id": "r", "slate_id": "s", "position": "p", "surface": {"constant": "home"}, "query": "q",
        "propensity": "w", "policy_version": "v", "context": {"device": "d", "os": "o"},
    }  # fmt: skip
    cells = row(e="e1", r="r1", s="s1", p=3.0, q="ソファ", w="0.25", v="7", d="phone", o="")
    ((kind, record),) = mapped([cells], impressions=every)
    assert kind == "impressions"
    assert record == REACTED | {
        "event_id": "e1", "request_id": "r1", "slate_id": "s1", "position": 3, "surface": "home", "query": "ソファ", "propensity": 0.25,
        "policy_version": "7", "context": {"device": "phone"},
    }  # fmt: skip
    assert isinstance(record["position"], int)


def test_all_that_an_item_may_carry(mapped):
    item = {
        "title": "n", "text": "d", "tags": {"column": "g", "separator": ","}, "category": {"constant": "Books"}, "price": "c",
        "attributes": {"duration_s": "l", "maker": {"constant": "x"}}, "published_at": "t", "available": "ok",
        "image_vector": {"column": "im", "separator": ","},
    }  # fmt: skip
    cells = row(n="紅樓夢", d="", g="classic, novel,", c="19.9", l="60", ok="Yes", im="[0.5, -1,2e-3]")
    ((kind, record),) = mapped([cells], items=item)
    assert (kind, record) == ("items", {
        "item_id": "m1", "title": "紅樓夢", "tags": ["classic", "novel"], "category": "Books", "price": 19.9,
        "attributes": {"duration_s": "60", "maker": "x"}, "published_at": AT, "available": True, "image_vector": [0.5, -1, 0.002],
    })  # fmt: skip
    ((_, other),) = mapped([row(n="x", ok="", im=[0.25, 1.0])], items={"title": "n", "image_vector": "im"})
    assert other["image_vector"] == [0.25, 1.0]


def test_an_event_without_an_id_stays_without_unless_rows_name_it(mapped):
    rows = [row(i="m1 m1"), row(i="m1")]
    basket = {"split": {"column": "i", "separator": " "}, "impressions": {"position": {"constant": 0}},
              "feedback": [{"type": {"constant": "purchase"}}, {"type": {"constant": "view"}}]}  # fmt: skip
    assert not any("event_id" in record for _, record in mapped(rows, **basket))
    named = [record["event_id"] for _, record in mapped(rows, **basket, event_ids="row")]
    assert len(set(named)) == len(named) == 9 and all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in named)
    assert named == [record["event_id"] for _, record in mapped(rows, **basket, event_ids="row")]


def test_what_is_missing_is_left_out(mapped):
    assert mapped([{"u": "", "i": None}], feedback=[{"type": {"constant": "view"}}]) == [("feedback", {"type": "view"})]
