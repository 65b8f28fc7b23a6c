"""What the simulated users write, as a consumer of landing files sees it, against the truth."""

import dataclasses
import gzip
from collections import Counter

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.hours import end_of, hour_of, hour_range, shift
from pipelines.local.demo_data import item_records
from pipelines.local.events import react
from pipelines.local.landing import pack, unpack
from pipelines.local.showing import ARRIVALS_S, CurrentSlates, read_slates, show
from pipelines.local.simulated_users import play_hour, simulate
from pipelines.local.visitors import newcomers, visitors
from pipelines.settings import load_settings

START = "2026-11-10T08"
FIRST, SECOND = shift(START, 1), shift(START, 2)


@pytest.fixture
def played_root(make_root):
    """Scored at START; the withheld items lie aside."""
    root = make_root(users=250)
    (root.settings.truth / "withheld.jsonl.gz").write_bytes(gzip.compress(b""))
    root.features(START, seed=1)
    root.score(START)
    return root


def landed(settings, kind, hour):
    return unpack(settings.landing / kind / f"{hour}.jsonl.gz")


def test_each_visitor_sees_the_top_of_the_own_slate_once(played_root):
    settings, world = played_root.settings, played_root.world
    simulate(settings, [FIRST])
    slates = read_slates(settings)
    own = dict(zip(slates.user_ids, slates.items.tolist(), strict=True))
    by_user: dict[str, list] = {}
    for shown in landed(settings, "impressions", FIRST):
        by_user.setdefault(shown["user_id"], []).append(shown)
    assert set(by_user) == set(visitors(world, FIRST))
    assert set(newcomers(world, FIRST)) <= set(by_user)
    for user, rows in by_user.items():
        wanted = own.get(user, own["__default__"])
        assert [row["item_id"] for row in rows] == wanted[: len(rows)]
        assert [row["position"] for row in rows] == list(range(len(rows)))
        assert len({row["request_id"] for row in rows}) == len({row["ts"] for row in rows}) == 1
        assert 0 <= (np.datetime64(rows[0]["ts"][:-6]) - np.datetime64(f"{FIRST}:00")) / np.timedelta64(1, "s") <= ARRIVALS_S
    cut = np.mean([len(rows) < 10 for rows in by_user.values()])
    assert 0.005 < cut < 0.04


def test_a_slate_is_shown_to_a_user_once_as_long_as_the_scores_are_the_same(played_root):
    settings, world = played_root.settings, played_root.world
    simulate(settings, hour_range(FIRST, SECOND))
    first, second = ({row["user_id"] for row in landed(settings, "impressions", hour)} for hour in (FIRST, SECOND))
    assert second and second == set(visitors(world, SECOND)) - first
    assert first & set(visitors(world, SECOND)), "somebody came back"


def test_reactions_name_what_was_shown_and_land_in_the_hour_of_their_own_time(played_root):
    settings = played_root.settings
    simulate(settings, hour_range(FIRST, SECOND))
    impressions = [row for hour in (FIRST, SECOND) for row in landed(settings, "impressions", hour)]
    shown = {(row["request_id"], row["user_id"], row["item_id"]): row for row in impressions}
    for hour in (FIRST, SECOND):
        for row in landed(settings, "feedback", hour):
            assert row["ts"].startswith(hour)
            impression = shown[row["request_id"], row["user_id"], row["item_id"]]
            assert row["ts"] > impression["ts"]
    late = [row for row in landed(settings, "feedback", SECOND) if row["type"] == "rating"]
    assert any(hour_of(end_of(FIRST)) > shown[row["request_id"], row["user_id"], row["item_id"]]["ts"][:13] for row in late)


def test_event_ids_never_repeat(played_root):
    settings = played_root.settings
    hours = hour_range(FIRST, shift(FIRST, 3))
    simulate(settings, hours)
    ids = Counter(row["event_id"] for hour in hours for kind in ("impressions", "feedback") for row in landed(settings, kind, hour))
    assert max(ids.values()) == 1


def test_a_replay_writes_the_same_bytes(played_root, tmp_path, world):
    settings = played_root.settings
    simulate(settings, hour_range(FIRST, SECOND))
    other = load_settings(tmp_path / "other", {"RECLOOP__LAKE__START_HOUR": START})
    other.truth.mkdir(parents=True)
    (other.truth / "withheld.jsonl.gz").write_bytes((settings.truth / "withheld.jsonl.gz").read_bytes())
    for hour in (FIRST, SECOND):
        play_hour(other, world, read_slates(settings), hour)
    for kind in ("impressions", "feedback"):
        for hour in (FIRST, SECOND):
            name = f"{kind}/{hour}.jsonl.gz"
            assert (settings.landing / name).read_bytes() == (other.landing / name).read_bytes()


def test_an_hour_is_played_once(played_root):
    settings = played_root.settings
    first = simulate(settings, [FIRST]).hours[0]
    before = {path: path.stat().st_mtime_ns for path in settings.landing.rglob("*.gz")}
    again = simulate(settings, [FIRST]).hours[0]
    assert (first.already, again.already) == (False, True)
    assert before == {path: path.stat().st_mtime_ns for path in settings.landing.rglob("*.gz")}


def test_an_hour_before_what_was_scored_or_played_is_refused(played_root):
    settings = played_root.settings
    simulate(settings, [SECOND])
    for hour in (START, FIRST):
        with pytest.raises(UserError, match=f"play {shift(SECOND, 1)} or later"):
            simulate(settings, [hour])


def test_without_scores_the_error_says_what_is_missing(settings, world):
    world.save(settings.truth)
    with pytest.raises(UserError, match="table scores does not exist"):
        simulate(settings, [FIRST])


def slates_of(users, items):
    ids = ["__default__", *users]
    return CurrentSlates(ids, [f"s{n}" for n in range(len(ids))], np.array([items] * len(ids), dtype=object), START)


def test_landed_rewards_are_on_average_what_the_truth_expects(world, settings, tmp_path):
    """Paid by hand from the landing files of 4 hours: clicks .2, watched share 1, four stars and more .5."""
    quiet = dataclasses.replace(world, activity=np.ones_like(world.activity))
    (settings.truth).mkdir(parents=True)
    (settings.truth / "withheld.jsonl.gz").write_bytes(gzip.compress(b""))
    items = world.item_ids[5:15]
    duration = dict(zip(world.item_ids, world.duration_s.tolist(), strict=True))
    paid = expected = 0.0
    hours = hour_range(FIRST, shift(FIRST, 3))
    for hour in hours:
        slates = dataclasses.replace(slates_of(world.user_ids, items), newest_hour=shift(hour, -1))
        play_hour(settings, quiet, slates, hour)
        users = sorted({row["user_id"] for row in landed(settings, "impressions", hour)})
        sizes = Counter(row["user_id"] for row in landed(settings, "impressions", hour))
        shown = np.array([[*items[: sizes[user]], *[""] * (10 - sizes[user])] for user in users], dtype=object)
        expected += quiet.expected_reward(users, shown, hour, settings.reward).sum()
    pending = [row for hour in hours[-3:] for row in unpack(settings.truth / "pending" / f"{hour}.jsonl.gz")]
    late = [row for row in pending if row["ts"][:13] > hours[-1]]
    for row in [*late, *(row for hour in hours for row in landed(settings, "feedback", hour))]:
        match row["type"]:
            case "click":
                paid += 0.2
            case "watch":
                paid += min(row["value"] / duration[row["item_id"]], 1.0)
            case "rating":
                paid += 0.5 * (row["value"] >= 4)
    assert paid == pytest.approx(expected, rel=0.015)


def test_the_same_user_item_and_hour_meet_the_same_luck_in_any_slate(world):
    """Common random numbers: moved up in a slate, an item that was clicked stays clicked."""
    users, items = world.user_ids[:1500], world.item_ids[:10]

    def clicked(order):
        shown = show(world, slates_of(users, order), users, FIRST)
        return {(row["user_id"], row["item_id"]) for row in react(world, shown, FIRST) if row["type"] == "click"}

    up, down = clicked([items[9], *items[:9]]), clicked(items)
    moved_up = {pair for pair in down if pair[1] == items[9]}
    assert moved_up and moved_up <= up
    moved_down = {pair for pair in up if pair[1] != items[9]}
    seen_in_both = {pair for pair in moved_down if pair in down}
    assert len(seen_in_both) > 0.9 * len(moved_down)


def test_a_slate_that_lost_rows_is_shown_without_them_and_logged_where_it_was_drawn(world):
    users, items = world.user_ids[:300], world.item_ids[:4]
    gap = show(world, slates_of(users, ["", items[1], "", items[3]]), users, FIRST)
    assert set(zip(gap.items, gap.positions.tolist(), strict=True)) == {(items[1], 1), (items[3], 3)}
    shown = Counter(gap.users)
    assert set(shown) == set(users) and set(shown.values()) <= {1, 2} and np.mean([count == 2 for count in shown.values()]) > 0.9


def test_withheld_items_land_in_the_hour_of_their_publication(played_root, catalogue):
    settings = played_root.settings
    _, withheld = item_records(catalogue, played_root.world)
    (settings.truth / "withheld.jsonl.gz").write_bytes(pack(withheld))
    simulate(settings, hour_range(FIRST, SECOND))
    for hour in (FIRST, SECOND):
        items = landed(settings, "items", hour)
        assert len(items) == 2 and all(item["published_at"].startswith(hour) for item in items)
