"""Roots without Spark: tables written by delta-rs, row by row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from deltalake import write_deltalake

from models.artifacts import load_ranker, save_ranker
from pipelines.hours import end_of, shift
from pipelines.lake.tables import read_table, table_path, table_version
from pipelines.registry.releases import ReleaseRow, release_folder
from pipelines.settings import Settings, load_settings
from pipelines.steps.draws import scoring_spec
from pipelines.steps.policy_judging import SlateLog
from pipelines.steps.shown_slates import read_shown_slates
from spark_jobs.business_rules import BusinessRules
from spark_jobs.catalogue import build_catalogue
from spark_jobs.contracts import TABLES
from spark_jobs.ranker_inputs import examples_batch
from spark_jobs.scoring import draw_batch

START = "2026-11-10T08"
SHOWN = shift(START, 1)
USERS, ITEMS = [f"u{n}" for n in range(60)], [f"i{n:02d}" for n in range(30)]
VERSIONS = {"encoder": "1", "ranker": "1", "policy": "1"}


@pytest.fixture
def settings(tmp_path) -> Settings:
    (tmp_path / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\nslates: {{size: 3, candidates: 10}}\n")
    return load_settings(tmp_path, {})


@pytest.fixture
def write(settings) -> Callable[[str, list[dict[str, Any]]], int]:
    """Appends rows, missing columns null, and answers the table's version."""

    def append(name: str, rows: list[dict[str, Any]]) -> int:
        data = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
        write_deltalake(str(table_path(settings, name)), data, mode="append", partition_by=list(TABLES[name].partition) or None)
        return table_version(settings, name)

    return append


@pytest.fixture
def champion(settings, save_release):
    """A first release whose policy has learned nothing."""
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
        "items": [
            {"item_id": i, "updated_hour": START, "title": i, "tags": [f"t{n % 5}"], "available": True, "published_at": published}
            for n, i in enumerate(ITEMS)
        ],
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


def _example(number, at, **values):
    known = {
        "example_id": f"e{number}", "revision": 0, "user_id": "u0", "item_id": "i00", "ts": at, "known_at": at, "position": 0,
        "labels": {}, "reward": 0.0, "reward_version": "v", "user": {"recent": []}, "item": {}, "hour": SHOWN,
    }  # fmt: skip
    return known | values


@pytest.fixture
def by(settings, catalogue, champion, nobody_liked):
    """Rows whose labels are what production's ranker, once calibrated by them, takes them for."""
    folder, random = release_folder(settings, champion.release_id) / "ranker", np.random.default_rng(4)
    ranker, items = load_ranker(folder), random.choice(ITEMS, 2000)
    rows = [_example(n, end_of(START), item_id=item, item={"clicks_24h": n % 50}) for n, item in enumerate(items)]
    table = pa.Table.from_pylist(rows, schema=TABLES["training_examples"].schema)
    batch = examples_batch(table, catalogue, ranker.config.user_counters, ranker.config.tasks, nobody_liked)
    chance = ranker(batch, catalogue.table).sigmoid().detach()
    batch = replace(batch, labels=(torch.rand(chance.shape, generator=torch.Generator().manual_seed(0)) < chance).float())
    ranker.fit_calibration(batch, catalogue.table)
    save_ranker(ranker, folder)
    return batch


@pytest.fixture
def rules():
    """Business rules of the draws."""
    return BusinessRules()


@pytest.fixture
def log(settings, write, champion, tables, catalogue, by, rules):
    """The slates that production draws for everybody, all shown whole, each third position clicked."""
    spec, at = scoring_spec(settings, START, champion, tables, rules), end_of(START)
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
    examples = [_example(k, at, reward=0.2 * (k % 3 == 0), **{name: row[name] for name in shown}) for k, row in enumerate(slates)]
    made = {"slate_decisions": decisions, "slate_log": slates, "training_examples": examples}
    versions = {name: write(name, rows) for name, rows in made.items()}
    return SlateLog(settings, SHOWN, catalogue, read_shown_slates(settings, [SHOWN], versions))
