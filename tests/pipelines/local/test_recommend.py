"""A user's rows with titles, by hand."""

import pytest

from pipelines.errors import UserError
from pipelines.hours import end_of, shift
from pipelines.local.recommend import recommend, some_users

START = "2026-11-10T08"


def score(user, position, item, source="policy", reason=None, surface="home"):
    return {
        "user_id": user, "surface": surface, "position": position, "item_id": item, "score": 0.5, "propensity": 0.1, "slate_id": "s",
        "arm": "production", "source": source, "reason": reason, "release_id": "r000002",
        "versions": {"encoder": "e", "ranker": "1", "policy": "1"}, "hour": START, "generated_at": end_of(START),
    }  # fmt: skip


def item(item_id, title, hour=START):
    return {"item_id": item_id, "updated_hour": hour, "title": title, "available": True}


@pytest.fixture
def scored(settings, write_table):
    write_table(settings, "items", [item("a", "Alien (1979)", shift(START, 2)), item("a", "Old name"), item("b", "Brazil (1985)")])
    rows = [
        score("u10", 0, "a"),
        score("u2", 1, "b", reason="like item a"),
        score("u2", 0, "a", reason="like item gone"),
        score("u2", 0, "b", surface="other"),
        score("__default__", 0, "b", "fallback", "popular this week"),
    ]
    write_table(settings, "scores", rows)
    return settings


def test_rows_come_in_order_with_the_newest_title_also_in_the_reason(scored):
    first, second = recommend(scored, "u2")
    assert (first.title, first.reason) == ("Alien (1979)", "like gone")
    assert (second.position, second.title, second.reason) == (1, "Brazil (1985)", "like Alien (1979)")
    assert [row.item_id for row in recommend(scored, "u2", 1)] == ["a"]


def test_the_default_slate_is_a_user_like_any_other(scored):
    (row,) = recommend(scored, "__default__")
    assert (row.source, row.reason) == ("fallback", "popular this week")


def test_an_unknown_user_is_told_of_the_default_slate(scored):
    with pytest.raises(UserError, match="recloop top __default__"):
        recommend(scored, "nobody")


def test_some_users_are_those_with_history(scored):
    assert some_users(scored) == ["u2", "u10"]


def test_without_scores_the_error_says_what_to_run(settings):
    with pytest.raises(UserError, match="run `recloop demo`"):
        recommend(settings, "u2")
