"""The arms against each other and against the truth, in a root whose loop is known."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.control import read_rows
from pipelines.lake.tables import read_table, table_version
from pipelines.local.arms import all_arms, random_slates
from pipelines.local.evaluation import evaluate, frozen_hour, hour_rewards, live_hours
from pipelines.local.loop_state import published_slates, read_frozen_view, read_state
from pipelines.local.reward_figures import ARMS, BEST, FROZEN_ALL, FROZEN_WEIGHTS, LOOP, POPULARITY, RANDOM
from pipelines.local.visitors import visitors
from pipelines.registry.releases import release_folder
from spark_jobs.release import load_release

START = "2026-11-10T08"
FROZEN, LIVE, NEXT = (shift(START, by) for by in (2, 3, 4))


@pytest.fixture
def live_root(make_root):
    """The first release drew every hour; the features moved after the frozen hour."""
    root = make_root()
    root.features(FROZEN, seed=1)
    root.score(FROZEN)
    root.release(FROZEN, "abstained")
    for number, hour in enumerate((LIVE, NEXT)):
        root.features(hour, seed=2 + number)
        root.score(hour)
    return root


def column(found, arm):
    return found.rewards[:, ARMS.index(arm)]


def test_live_hours_begin_after_the_first_decision_that_followed_the_start(live_root):
    assert frozen_hour(live_root.settings) == FROZEN
    assert live_hours(live_root.settings) == [LIVE, NEXT]


def test_frozen_weights_are_the_loop_where_the_first_release_drew(live_root):
    found = hour_rewards(live_root.settings, live_root.world, LIVE)
    np.testing.assert_array_equal(column(found, LOOP), column(found, FROZEN_WEIGHTS))
    assert (column(found, LOOP) != column(found, FROZEN_ALL)).mean() > 0.5


def test_everything_frozen_is_the_loop_in_the_frozen_hour_itself(live_root):
    found = hour_rewards(live_root.settings, live_root.world, FROZEN)
    np.testing.assert_array_equal(column(found, LOOP), column(found, FROZEN_ALL))


def test_no_arm_is_above_the_best_for_any_user(live_root):
    found = hour_rewards(live_root.settings, live_root.world, LIVE)
    for arm in ARMS:
        assert (column(found, arm) <= column(found, BEST) * 1.001).all(), arm
    assert column(found, BEST).mean() > 2 * column(found, RANDOM).mean()


def test_users_come_in_the_next_hour_and_have_a_slate(live_root):
    found = hour_rewards(live_root.settings, live_root.world, LIVE)
    coming = set(visitors(live_root.world, NEXT))
    assert set(found.users) == coming & set(live_root.users)


def arms_of(root):
    """State and slates of the hour LIVE."""
    settings = root.settings
    release = load_release(release_folder(settings, "r000001"), "r000001", [term.weight for term in settings.reward.terms])
    config, users = release.ranker.config, root.users
    state = read_state(settings, LIVE, users, published_slates(settings, LIVE), config)
    frozen = read_frozen_view(settings, FROZEN, users, state.catalogue, config)
    return state, all_arms(state, frozen, release, root.world, settings.reward)


def features_of(root, table, hour=LIVE):
    version = ledger.last_done(root.settings, "build_features", hour).outputs[table]
    return read_table(root.settings, table, version=version).to_pylist()


def test_every_arm_shows_k_distinct_published_items_that_the_user_has_not_seen(live_root):
    seen = {row["user_id"]: {entry["item_id"] for entry in row["recent"]} for row in features_of(live_root, "user_features")}
    items = set(read_table(live_root.settings, "items").column("item_id").to_pylist())
    for slates in arms_of(live_root)[1].values():
        assert slates.shape == (len(live_root.users), 10)
        for user, slate in zip(live_root.users, slates, strict=True):
            assert len(set(slate)) == 10
            assert set(slate) <= items - seen[user]


def test_popularity_shows_what_paid_most_in_the_week(live_root):
    user, _, *_ = features_of(live_root, "user_features")
    seen = {entry["item_id"] for entry in user["recent"]}
    items = set(read_table(live_root.settings, "items").column("item_id").to_pylist()) - seen
    ranked = sorted(features_of(live_root, "item_features"), key=lambda row: -row["reward_168h"])
    wanted = [row["item_id"] for row in ranked if row["item_id"] in items][:10]
    state, arms = arms_of(live_root)
    assert arms[POPULARITY][state.users.index(user["user_id"])].tolist() == wanted


def test_random_shows_each_allowed_item_equally_often(make_root):
    root = make_root(users=250)
    for hour in (FROZEN, LIVE):
        root.features(hour, seed=1)
        root.score(hour)
    state, arms = arms_of(root)
    allowed = state.allowed.numpy()[:, 1:]
    expected = (allowed * 10 / allowed.sum(axis=1, keepdims=True)).sum(axis=0)
    ids, counts = np.unique(arms[RANDOM].ravel(), return_counts=True)
    shown = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    observed = np.array([shown.get(item, 0) for item in state.catalogue.ids.to_pylist()])
    assert observed.sum() == pytest.approx(expected.sum())
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < len(expected) + 4 * np.sqrt(2 * len(expected))


def test_random_is_worth_the_mean_over_allowed_items(live_root):
    """Of one position: a slate of one random item is worth, on average, what all allowed items are worth on average."""
    state, _ = arms_of(live_root)
    world, reward = live_root.world, live_root.settings.reward
    each = world.reward_matrix(state.users, NEXT, reward)
    allowed = state.allowed.numpy()[:, state.catalogue.rows(pa.array(world.item_ids))]
    wanted = np.array([row[may].mean() for row, may in zip(each, allowed, strict=True)])
    hours = [replace(state, rules=replace(state.rules, size=1, hour_number=hour)) for hour in range(60)]
    found = np.mean([world.expected_reward(state.users, random_slates(hour), NEXT, reward) for hour in hours], axis=0)
    error = (found - wanted).std() / np.sqrt(len(wanted))
    assert abs((found - wanted).mean()) < 4 * error


def test_metrics_hold_the_hour_and_all_live_hours_so_far_and_a_rerun_changes_nothing(live_root):
    settings = live_root.settings
    assert evaluate(settings) == [LIVE, NEXT]
    rows = read_rows(settings, "metrics")
    version = table_version(settings, "metrics")
    evaluate(settings)
    assert table_version(settings, "metrics") == version
    hours = [hour_rewards(settings, live_root.world, hour) for hour in (LIVE, NEXT)]
    loop = np.concatenate([column(found, LOOP) for found in hours])
    best = np.concatenate([column(found, BEST) for found in hours])
    total = {(row["name"], row["subject"]): row for row in rows if (row["hour"], row["slice"]) == (NEXT, "live hours")}
    assert total["world_reward", LOOP]["value"] == pytest.approx(loop.mean())
    assert total["world_difference", BEST]["value"] == pytest.approx((loop - best).mean())
    assert total["world_reward", LOOP]["n"] == len(loop)
    assert total["world_difference", FROZEN_WEIGHTS]["low"] == total["world_difference", FROZEN_WEIGHTS]["high"] == 0
    keys = [(row["hour"], row["name"], row["subject"], row["slice"]) for row in rows]
    assert len(keys) == len(set(keys)) == 2 * 2 * (6 + 5 + 1)


def test_lost_figures_are_written_again_the_same(live_root):
    settings = live_root.settings
    evaluate(settings)
    before = sorted(read_rows(settings, "metrics"), key=str)
    shutil.rmtree(settings.warehouse / "metrics")
    shutil.rmtree(settings.truth / "evaluation")
    evaluate(settings)
    assert sorted(read_rows(settings, "metrics"), key=str) == before


def test_without_a_world_there_is_nothing_to_evaluate(live_root):
    shutil.rmtree(live_root.settings.truth)
    assert evaluate(live_root.settings) == []
