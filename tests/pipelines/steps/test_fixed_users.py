"""Whose slates are looked at after a refresh: the same users hour by hour, each by what was drawn for them last."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.hours import shift
from pipelines.lake.tables import read_table
from pipelines.registry.policy_figures import Compared
from pipelines.registry.releases import release_folder
from pipelines.steps.fixed_users import USERS, fixed_users, titles_of
from pipelines.steps.policy_judging import SlateLog
from spark_jobs.release import load_release
from tests.pipelines.steps.conftest import START


@pytest.fixture
def release(settings, champion):
    rewards = tuple(term.weight for term in settings.reward.terms)
    return load_release(release_folder(settings, champion.release_id), champion.release_id, rewards)


def found(log: SlateLog, release, rows, change=0.0):
    """Of the marked slates; ``change``: what the candidate adds to the logit of each slate's last candidate."""
    reader = log.reader(rows)
    composed = reader.composed(release)
    last = torch.zeros_like(composed.logits)
    last[torch.arange(len(last)), (reader.rows > 0).sum(1) - 1] = change
    compared = Compared(composed.slates, composed.logits + last, composed.logits, reader.rows, log.settings.seed)
    return fixed_users(reader, compared, release.ranker.config)


def test_the_same_users_are_looked_at_whoever_else_is_there(log, release):
    everybody, some = np.ones(len(log.slates), bool), np.arange(len(log.slates)) % 3 > 0
    all_of_them, of_some = (found(log, release, rows) for rows in (everybody, some))
    present = set(np.array(log.slates.decisions["user_id"].to_pylist())[some])
    still = [user.user_id for user in all_of_them if user.user_id in present]
    assert len(all_of_them) == len(of_some) == USERS < len(log.slates) and 5 < len(still) < USERS
    assert [user.user_id for user in of_some][: len(still)] == still


def test_equal_models_draw_equal_slates_and_another_candidate_enters_where_it_is_pushed(log, release):
    rows = np.ones(len(log.slates), bool)
    decisions = {row["user_id"]: row for row in log.slates.decisions.to_pylist()}
    features = read_table(log.settings, "user_features").to_pylist()
    history = {row["user_id"]: [entry["item_id"] for entry in row["recent"]] for row in features}
    for user in found(log, release, rows):
        assert user.before == user.after and len(set(user.before)) == 3
        assert set(user.before) <= set(decisions[user.user_id]["candidates"])
        assert list(user.reactions) == history[user.user_id][::-1]
    for user in found(log, release, rows, change=1e4):
        assert user.after[0] == decisions[user.user_id]["candidates"][-1] and user.kept >= 2


def test_a_users_newest_slate_is_the_one_that_is_drawn_anew(log, release):
    decisions, later = log.slates.decisions, shift(START, 1)
    first, second = decisions["user_id"].to_pylist()[:2]
    hours = [later, START, *[START] * (len(decisions) - 2)]
    for name, values in (("user_id", [first, first, *decisions["user_id"].to_pylist()[2:]]), ("hour", hours)):
        decisions = decisions.set_column(decisions.column_names.index(name), name, pa.array(values))
    changed = replace(log, slates=replace(log.slates, decisions=decisions))
    (user,) = found(changed, release, np.arange(len(decisions)) < 2)
    assert user.user_id == first != second and user.hour == later
    assert set(user.before) <= set(decisions["candidates"].to_pylist()[0])


def test_titles_are_the_newest_as_of_a_version(settings, tables, write):
    version = write("items", [{"item_id": "i03", "updated_hour": shift(START, 2), "title": "renamed", "available": True}])
    assert titles_of(settings, ["i03", "i04", "nowhere"], version) == {"i03": "renamed", "i04": "i04"}
    assert titles_of(settings, ["i03"], tables["items"]) == {"i03": "i03"}
