"""A new ranker goes as far from production as the log can judge, and no further."""

import copy
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.artifacts import load_ranker, save_ranker
from pipelines.hours import end_of, shift
from pipelines.lake.tables import read_table
from pipelines.registry.releases import ReleaseRow, release_folder
from pipelines.steps.policy_judging import SlateLog
from pipelines.steps.reach import served
from pipelines.steps.score_users import scoring_spec
from pipelines.steps.shown_slates import read_shown_slates
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import TABLES
from spark_jobs.ranker_inputs import examples_batch
from spark_jobs.scoring import draw_batch

START = "2026-11-10T08"
SHOWN = shift(START, 1)
USERS, ITEMS = [f"u{n}" for n in range(60)], [f"i{n:02d}" for n in range(30)]
VERSIONS = {"encoder": "1", "ranker": "1", "policy": "1"}


@pytest.fixture
def champion(settings, save_release):
    row = ReleaseRow("r000001", START, VERSIONS, "bootstrap", "production", "promote_models", START, end_of(START))
    save_release(release_folder(settings, row.release_id), text_dim=6, learned=False)
    return row


@pytest.fixture
def tables(write):
    """Versions of a small catalogue and of 60 users with a history of four items."""
    random, at = np.random.default_rng(2), end_of(START)
    published = at - timedelta(days=50)
    vectors = random.normal(size=(len(ITEMS), 6)).tolist()
    histories = [random.choice(ITEMS, 4, replace=False).tolist() for _ in USERS]
    rows = {
        "items": [{"item_id": i, "updated_hour": START, "title": i, "available": True, "published_at": published} for i in ITEMS],
        "item_embeddings": [
            {"item_id": i, "encoder_version": "made-up", "text_hash": "", "vector": v} for i, v in zip(ITEMS, vectors, strict=True)
        ],
        "item_features": [{"item_id": i, "as_of": at, "impressions_24h": 9.0, "clicks_24h": random.random() * 9} for i in ITEMS],
        "user_features": [
            {"user_id": user, "as_of": at, "clicks_24h": random.random() * 9,
             "recent": [{"ts": published, "event_id": item, "item_id": item, "weight": 1.0, "times": 1.0} for item in history]}
            for user, history in zip(USERS, histories, strict=True)
        ],
    }  # fmt: skip
    return {name: write(name, found) for name, found in rows.items()}


@pytest.fixture
def catalogue(settings, tables):
    return build_catalogue(read_table(settings, "items"), read_table(settings, "item_embeddings"), "made-up")


def example(number, at, **values):
    known = {
        "example_id": f"e{number}", "revision": 0, "user_id": "u0", "item_id": "i00", "ts": at, "known_at": at, "position": 0,
        "labels": {}, "reward": 0.0, "reward_version": "v", "user": {"recent": []}, "item": {}, "hour": SHOWN,
    }  # fmt: skip
    return known | values


@pytest.fixture
def by(settings, catalogue, champion):
    """Rows whose labels are what production's ranker, once calibrated by them, takes them for."""
    folder, random = release_folder(settings, champion.release_id) / "ranker", np.random.default_rng(4)
    ranker, items = load_ranker(folder), random.choice(ITEMS, 2000)
    rows = [example(n, end_of(START), item_id=item, item={"clicks_24h": n % 50}) for n, item in enumerate(items)]
    table = pa.Table.from_pylist(rows, schema=TABLES["training_examples"].schema)
    batch = examples_batch(table, catalogue, ranker.config.user_counters, ranker.config.tasks)
    chance = ranker(batch, catalogue.table).sigmoid().detach()
    batch = replace(batch, labels=(torch.rand(chance.shape, generator=torch.Generator().manual_seed(0)) < chance).float())
    ranker.fit_calibration(batch, catalogue.table)
    save_ranker(ranker, folder)
    return batch


@pytest.fixture
def log(settings, write, champion, tables, catalogue, by):
    """The slates that production draws for everybody, all shown whole, each third position clicked."""
    spec, at = scoring_spec(settings, START, champion, tables), end_of(START)
    about = {
        "surface": "home", "hour": START, "temperature": 0.35, "rules": "", "seed": 7, "arm": "production", "arm_share": 1.0,
        "release_id": champion.release_id, "versions": VERSIONS,
        "feature_versions": [{"table": name, "version": version} for name, version in tables.items()],
    }  # fmt: skip
    users = read_table(settings, "user_features").combine_chunks().to_batches()[0]
    decisions = [row | about for row in draw_batch(users, spec).to_pylist()]
    slates = [
        {"slate_id": row["slate_id"], "position": k, "user_id": row["user_id"], "surface": "home", "item_id": row["candidates"][index],
         "propensity": row["propensities"][k], "score": row["scores"][k], "source": "policy", "hour": START}
        for row in decisions for k, index in enumerate(row["action"])
    ]  # fmt: skip
    shown = ("user_id", "item_id", "position", "slate_id")
    examples = [example(k, at, reward=0.2 * (k % 3 == 0), **{name: row[name] for name in shown}) for k, row in enumerate(slates)]
    made = {"slate_decisions": decisions, "slate_log": slates, "training_examples": examples}
    versions = {name: write(name, rows) for name, rows in made.items()}
    return SlateLog(settings, SHOWN, catalogue, read_shown_slates(settings, [SHOWN], versions))


@pytest.fixture
def reached(settings, log, champion, by):
    learned = load_ranker(release_folder(settings, champion.release_id) / "ranker")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in learned.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)

    def answer(reach, least_effective=0, **other):
        policy = settings.policy.model_copy(update={"reach": reach, "least_effective": least_effective})
        own = settings.model_copy(update={"policy": policy})
        given = {"log": replace(log, settings=own), "champion": champion} | other
        return served(own, given["log"], copy.deepcopy(learned), given["champion"], by), learned

    return answer


def test_without_a_limit_the_learned_ranker_is_served(reached):
    found, learned = reached(reach=1e6)
    assert found.share == 1.0 and found.kl > 0.05 and 0 < found.effective < 1
    for name, weight in found.ranker.named_parameters():
        assert torch.allclose(weight, dict(learned.named_parameters())[name], atol=1e-6), name


def test_the_limit_is_kept_and_nearly_used(reached):
    whole, _ = reached(reach=1e6)
    half, _ = reached(reach=whole.kl / 2)
    tenth, _ = reached(reach=whole.kl / 10)
    assert tenth.kl <= whole.kl / 10 and whole.kl / 4 < half.kl <= whole.kl / 2
    assert 0 <= tenth.share < half.share < whole.share == 1.0


def test_more_evidence_than_the_log_has_leaves_production(reached):
    found, _ = reached(reach=1e6, least_effective=10_000)
    assert found.share == 0.0


def test_enough_evidence_is_kept_for_judging(reached, log):
    slates = len(log.judging().shown)
    whole, _ = reached(reach=1e6)
    least = round(slates * (1 + whole.effective) / 2)
    found, _ = reached(reach=1e6, least_effective=least)
    assert found.share < 1.0 and found.effective * slates >= least


def test_where_nothing_was_logged_there_is_no_limit(reached):
    for missing in ({"log": None}, {"champion": None}):
        found, learned = reached(reach=0.001, **missing)
        assert found.share == 1.0
        assert all(torch.equal(a, b) for a, b in zip(found.ranker.parameters(), learned.parameters(), strict=True))


def test_the_log_holds_every_slate_as_drawn(log):
    assert len(log.slates) == len(USERS) and log.slates.shown.all() and log.mismatched == 0
