"""Slates of a small catalogue, drawn by the executor's own code: distinct, allowed, repeatable, with exact propensities."""

import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch
from deltalake import write_deltalake

from pipelines.hours import hour_number
from spark_jobs.business_rules import Boost, BusinessRules
from spark_jobs.contracts import DEFAULT_USER, TABLES
from spark_jobs.item_rules import with_pinned
from spark_jobs.release import DrawRules
from spark_jobs.scoring import ScoringSpec, draw_batch

AT = datetime(2026, 11, 10, 9, tzinfo=UTC)
ITEMS = [f"i{n:02d}" for n in range(30)]
UNAVAILABLE, UNPUBLISHED, FRESH = ITEMS[-3:]
COLD = [f"c{n}" for n in range(300)]
SIZE = 5


def seen(*items, days=1.0, weight=0.7):
    at = AT - timedelta(days=days)
    return [{"ts": at, "event_id": item, "item_id": item, "weight": weight, "times": 1.0} for item in items]


USERS = {
    "reader": seen(*ITEMS[:8]),
    "long ago": seen(*ITEMS[:27], days=40),
    "nearly all": seen(*ITEMS[:24], FRESH),
    **dict.fromkeys(COLD),
    DEFAULT_USER: None,
}


@pytest.fixture(scope="module")
def spec(tmp_path_factory, save_release):
    root, random = tmp_path_factory.mktemp("scoring"), np.random.default_rng(3)
    published = {UNPUBLISHED: AT + timedelta(minutes=1), FRESH: AT - timedelta(hours=3)}
    items = [
        {"item_id": item, "updated_hour": "h", "title": item, "tags": [f"t{n % 4}"], "available": item != UNAVAILABLE,
         "attributes": {"stock": str(n % 3), "brand": f"b{n % 5}"} if n else None,
         "published_at": published.get(item, AT - timedelta(days=90))}
        for n, item in enumerate(ITEMS)
    ]  # fmt: skip
    vectors = [{"item_id": i, "encoder_version": "made-up", "text_hash": "", "vector": random.normal(size=6).tolist()} for i in ITEMS]
    features = [{"item_id": item, "as_of": AT, "impressions_24h": 40.0, "reward_168h": float(n)} for n, item in enumerate(ITEMS)]
    for name, rows in {"items": items, "item_embeddings": vectors, "item_features": features}.items():
        write_deltalake(str(root / name), pa.Table.from_pylist(rows, schema=TABLES[name].schema))
    save_release(root / "release", text_dim=6)
    rules = DrawRules(
        AT, hour_number("2026-11-10T08"), 7, SIZE, retrieved=25, candidates=20, explore_share=0.1, seen_days=30, fresh_hours=24,
        business=BusinessRules(),
    )
    versions = tuple((name, 0) for name in ("items", "item_embeddings", "item_features"))
    return ScoringSpec(str(root), versions, str(root / "release"), "r000001", (0.2, 1.0, 0.5), rules)


def drawn(spec, users=tuple(USERS)):
    rows = [{"user_id": user, "as_of": AT, "clicks_24h": 2.0, "recent": USERS[user]} for user in users]
    batch = pa.Table.from_pylist(rows, schema=TABLES["user_features"].schema).to_batches()[0]
    return {row["user_id"]: row for row in draw_batch(batch, spec).to_pylist()}


@pytest.fixture(scope="module")
def slates(spec):
    return drawn(spec)


def items_of(row):
    return [row["candidates"][index] for index in row["action"]]


def propensities_by_definition(logits, action):
    """Choose, take out, renormalize."""
    left, found = {n: math.exp(logit - max(logits)) for n, logit in enumerate(logits)}, []
    for index in action:
        found.append(left[index] / sum(left.values()))
        del left[index]
    return found


def test_every_propensity_follows_from_the_kept_logits(slates):
    for row in slates.values():
        assert row["propensities"] == pytest.approx(propensities_by_definition(row["logits"], row["action"]), abs=1e-9)
        assert max(row["logits"]) - min(row["logits"]) <= 7 + 1e-6
        assert len(row["logits"]) == len(row["candidates"]) == len(set(row["candidates"]))
        assert len(row["candidate_features"]) == 8 * len(row["candidates"]) and len(row["user_vector"]) == 20
        assert all(0 < score <= 1.7 for score in row["scores"])


def test_a_slate_has_distinct_items_that_the_rules_allow(slates):
    for user, row in slates.items():
        shown = items_of(row)
        assert len(set(shown)) == len(shown) == SIZE or user == "nearly all"
        assert not {UNAVAILABLE, UNPUBLISHED} & set(row["candidates"])
    assert not set(ITEMS[:8]) & set(slates["reader"]["candidates"])
    assert set(slates["long ago"]["candidates"]) & set(ITEMS[:27]), "what was seen 40 days ago may come again"
    assert FRESH in slates["reader"]["candidates"]


def test_a_slate_is_shorter_where_fewer_items_are_left(slates):
    row = slates["nearly all"]
    assert sorted(items_of(row)) == ITEMS[24:27]
    assert row["propensities"][-1] == pytest.approx(1.0) and len(row["scores"]) == len(row["nearest_seen"]) == 3


def chosen(spec, size, **rules):
    """Utility by item of what each user's slate is drawn from."""
    rows = drawn(replace(spec, rules=replace(spec.rules, size=1, candidates=size, explore_share=0.0, fresh_hours=0, **rules)))
    return {user: dict(zip(row["candidates"], row["candidate_features"][::8], strict=True)) for user, row in rows.items()}


def test_of_what_the_towers_retrieve_the_rankers_best_are_the_candidates(spec):
    everything, towers = chosen(spec, 30, retrieved=30), {size: chosen(spec, size, retrieved=size) for size in (6, 12)}
    own, all_of = chosen(spec, 6, retrieved=12), chosen(spec, 6, retrieved=30)
    for user in ("reader", "long ago", "c0"):
        utility = everything[user]
        assert set(own[user]) == set(sorted(towers[12][user], key=utility.get)[-6:])
        assert set(all_of[user]) == set(sorted(utility, key=utility.get)[-6:])
    assert own != towers[6] and own != all_of, "towers and ranker order differently"


def test_the_source_says_what_the_draw_went_by(slates):
    assert (slates["reader"]["source"], slates["c0"]["source"], slates[DEFAULT_USER]["source"]) == ("policy", "cold_start", "fallback")
    assert set(slates["reader"]["nearest_seen"]) <= set(ITEMS[:8]) and set(slates["c0"]["nearest_seen"]) == {""}


def test_without_history_the_weeks_popular_items_lead(slates):
    row = slates[DEFAULT_USER]
    by_logit = sorted(zip(row["logits"], row["candidates"], strict=True))
    popular = [item for _, item in by_logit]
    assert popular == sorted(popular), "reward_168h grows with the number in the name"


def test_a_rerun_draws_the_same_and_another_seed_hour_or_user_does_not(spec, slates):
    assert drawn(spec) == slates
    for user, row in drawn(spec, ("reader", "c1", DEFAULT_USER)).items():
        assert row["slate_id"] == slates[user]["slate_id"] and row["logits"] == pytest.approx(slates[user]["logits"], abs=1e-4)
    for change in ({"seed": 8}, {"hour_number": spec.rules.hour_number + 1}):
        other = drawn(replace(spec, rules=replace(spec.rules, **change)))
        differ = [user for user in USERS if items_of(other[user]) != items_of(slates[user])]
        assert len(differ) > 0.9 * len(USERS)
        assert not {row["slate_id"] for row in other.values()} & {row["slate_id"] for row in slates.values()}
    assert len({tuple(items_of(slates[user])) for user in COLD}) > 0.9 * len(COLD)
    assert len({row["slate_id"] for row in slates.values()}) == len(USERS)


def test_items_come_first_as_often_as_their_probability_says(slates):
    expected, variance, found = Counter(), Counter(), Counter()
    for user in COLD:
        row = slates[user]
        chances = np.exp(np.array(row["logits"]) - max(row["logits"]))
        for item, chance in zip(row["candidates"], chances / chances.sum(), strict=True):
            expected[item] += chance
            variance[item] += chance * (1 - chance)
        found[items_of(row)[0]] += 1
    likely = [item for item in ITEMS if expected[item] > 8]
    assert len(likely) >= 8
    assert all(abs(found[item] - expected[item]) < 4.5 * variance[item] ** 0.5 for item in likely)


@pytest.fixture(scope="module")
def by_rules(spec):
    return lambda **rules: drawn(replace(spec, rules=replace(spec.rules, business=BusinessRules("v", **rules))))


def test_without_rules_a_decision_says_nothing_of_them(slates):
    row = slates["reader"]
    assert [row[name] for name in ("offsets", "categories", "category_cap", "pinned")] == [None] * 4


def test_what_is_blocked_or_out_of_stock_is_no_candidate(by_rules):
    rows = by_rules(blocked_items=(ITEMS[10], "unknown"), blocked_tags=("t3",), stock=("stock", 1.0))
    out = {ITEMS[10], *ITEMS[3::4], *ITEMS[0::3]}
    for row in rows.values():
        assert not out & set(row["candidates"])
    assert set(rows["c0"]["candidates"]) <= set(ITEMS) - out and len(rows["c0"]["candidates"]) > 5


def test_a_boost_is_added_to_the_logits_and_kept(by_rules, slates):
    boosted = by_rules(boosts=(Boost(1.5, tags=("t1",)), Boost(-0.5, items=(ITEMS[9], ITEMS[20]))))
    offset = {item: 1.5 * (n % 4 == 1) - 0.5 * (n in (9, 20)) for n, item in enumerate(ITEMS)}
    for user in ("reader", "c0", DEFAULT_USER):
        plain, row = slates[user], boosted[user]
        assert row["candidates"] == plain["candidates"] and row["offsets"] == pytest.approx([offset[item] for item in row["candidates"]])
        moved = [own + add for own, add in zip(plain["logits"], row["offsets"], strict=True)]
        assert row["logits"] == pytest.approx([max(value, max(moved) - 7) for value in moved], abs=1e-4)
        assert row["propensities"] == pytest.approx(propensities_by_definition(row["logits"], row["action"]), abs=1e-9)


def test_a_pinned_item_stands_there_with_certainty_whoever_has_seen_it(by_rules):
    rows = by_rules(pins=((1, ITEMS[2]), (0, UNAVAILABLE), (3, "unknown")))
    for user, row in rows.items():
        shown = items_of(row)
        assert shown[1] == ITEMS[2] and row["propensities"][1] == 1.0, user
        assert shown.count(ITEMS[2]) == 1 and UNAVAILABLE not in row["candidates"]
        assert row["pinned"] == [-1, row["action"][1], -1, -1, -1]
        kept = [n for n in range(len(row["logits"])) if n != row["action"][1]]
        first = math.exp(row["logits"][row["action"][0]]) / sum(math.exp(row["logits"][n]) for n in kept)
        assert row["propensities"][0] == pytest.approx(first, abs=1e-9)


@pytest.mark.parametrize(("cap_by", "at_most"), [("tag", 1), ("brand", 2)])
def test_no_slate_holds_more_of_a_category_than_its_cap(by_rules, cap_by, at_most):
    kind = {item: None if cap_by == "brand" and not n else n % (4 if cap_by == "tag" else 5) for n, item in enumerate(ITEMS)}
    shorter = 0
    for row in by_rules(cap_by=cap_by, cap_at=at_most).values():
        found = Counter(kind[item] for item in items_of(row))
        assert max([count for name, count in found.items() if name is not None], default=0) <= at_most
        assert row["category_cap"] == at_most and len(row["categories"]) == len(row["candidates"])
        left, used = dict(enumerate(row["logits"])), Counter()
        for index, propensity in zip(row["action"], row["propensities"], strict=True):
            open_ = [n for n in left if kind[row["candidates"][n]] is None or used[kind[row["candidates"][n]]] < at_most]
            assert propensity == pytest.approx(math.exp(left[index]) / sum(math.exp(left[n]) for n in open_), abs=1e-9)
            used[kind[row["candidates"][index]]] += 1
            del left[index]
        shorter += len(row["action"]) < SIZE
    assert shorter == (len(USERS) if cap_by == "tag" else shorter)  # four tags, one each: a slate of five ends at four


def test_a_rule_for_what_was_seen_takes_the_place_of_the_settings(by_rules, slates):
    assert not set(ITEMS[:8]) & set(slates["reader"]["candidates"])
    assert set(ITEMS[:8]) & set(by_rules(seen_days=0)["reader"]["candidates"])


def test_pinned_items_take_empty_places_first_and_never_each_others():
    rows, mask = torch.tensor([[3, 5, 0, 0], [2, 3, 5, 7]]), torch.tensor([[True, True, False, False], [True] * 4])
    may = torch.ones(2, 10, dtype=torch.bool)
    may[0, 9] = False
    found, there = with_pinned(rows, mask, [7, 9, 3], may)
    assert {row for row, open_ in zip(found[0].tolist(), there[0].tolist(), strict=True) if open_} == {3, 5, 7}
    assert set(found[1].tolist()) == {2, 3, 7, 9} or set(found[1].tolist()) == {3, 5, 7, 9}
