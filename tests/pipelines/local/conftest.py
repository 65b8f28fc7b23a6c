"""Small roots with a known world, written table by table with delta-rs, without Spark."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from deltalake import write_deltalake

from models.artifacts import save_policy, save_ranker
from models.policies.base import PolicyConfig
from models.policies.learners import make_policy
from models.ranker import Ranker, RankerConfig
from models.records import ItemTable, RankerBatch, UserState
from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.tables import read_table, table_path, table_version
from pipelines.local.catalogue import made_up_catalogue
from pipelines.local.demo_data import item_records
from pipelines.local.world import World
from pipelines.local.world_fit import fit_world
from pipelines.registry.releases import ReleaseRow, all_releases, append_decision, next_release_id, release_folder, release_in_force
from pipelines.settings import Settings, load_settings
from pipelines.steps.draws import scoring_spec
from spark_jobs.business_rules import BusinessRules
from spark_jobs.contracts import COUNTERS, DEFAULT_USER, HISTORY, TABLES
from spark_jobs.counters import counter_names
from spark_jobs.ranker_inputs import CROSS

torch.set_num_threads(1)
START = "2026-11-10T08"
TEXT_DIM = 12


@pytest.fixture(scope="session")
def catalogue():
    return made_up_catalogue(seed=7, items=120, users=60)


@pytest.fixture(scope="session")
def world(catalogue) -> World:
    return fit_world(catalogue, 7, START, "medium")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an empty root whose loop starts at START."""
    (tmp_path / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\nslates: {{candidates: 40}}\n")
    return load_settings(tmp_path, {})


@pytest.fixture
def write_table() -> Callable[..., int]:
    return _write_table


def _write_table(settings: Settings, name: str, rows: list[dict[str, Any]]) -> int:
    """Replaces the table by these rows and answers the version."""
    data = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
    write_deltalake(str(table_path(settings, name)), data, mode="overwrite", partition_by=list(TABLES[name].partition) or None)
    return table_version(settings, name)


@pytest.fixture
def ledger_row() -> Callable[..., LedgerRow]:
    return _ledger_row


def _ledger_row(step: str, hour: str, **values: Any) -> LedgerRow:
    at = end_of(hour)
    row = LedgerRow(hour=hour, step=step, status="done", code_version="test", started_at=at, ended_at=at + timedelta(seconds=9))
    return replace(row, **values)


@dataclass
class LoopRoot:
    """A root at work: features by hour, releases, scored hours, each with its ledger row."""

    settings: Settings
    world: World
    users: list[str]

    def release(self, hour: str, stage: str = "production", *, save: bool = False, **values: Any) -> str:
        """A decision for the hour; ``save`` writes fresh models into its folder."""
        release_id = next_release_id(self.settings)
        if save:
            save_release(release_folder(self.settings, release_id))
        versions = {"encoder": "made-up", "ranker": release_id[-1], "policy": release_id[-1]}
        since = shift(hour, 1) if all_releases(self.settings) else hour
        fields = {"kind": "refresh", "decided_by": "promote_models", "since": since, "versions": versions} | values
        row = ReleaseRow(release_id, hour, stage=stage, decided_at=end_of(hour), **fields)
        production = [r for r in all_releases(self.settings) if r.stage == "production"]
        append_decision(self.settings, row, production[-1].release_id if production else None)
        return release_id

    def features(self, hour: str, seed: int) -> None:
        """Counters of all items and users, and the users' histories, drawn anew."""
        random, at = np.random.default_rng(seed), end_of(hour)
        items = self.world.item_ids
        popular = random.exponential(30, len(items))
        item_rows = [{"item_id": item, "as_of": at} | _counters(random, n) for item, n in zip(items, popular, strict=True)]
        user_rows = [{"user_id": user, "as_of": at, "recent": _history(random, items, at)} | _counters(random, 9.0) for user in self.users]
        tables = {"item_features": item_rows, "user_features": user_rows}
        outputs = {name: _write_table(self.settings, name, rows) for name, rows in tables.items()}
        ledger.write_rows(self.settings, [_ledger_row("build_features", hour, outputs=outputs)])

    def score(self, hour: str, release_id: str = "r000001", folder_of: str = "r000001", *, logged: bool = False) -> None:
        """Slates drawn by the executor's own code and published; ``logged``: the draws are kept too."""
        from spark_jobs.scoring import draw_batch

        features = ledger.last_done(self.settings, "build_features", hour)
        assert features is not None
        inputs = features.outputs | {name: table_version(self.settings, name) for name in ("items", "item_embeddings")}
        release = release_in_force(self.settings, hour, folder_of)
        spec = scoring_spec(self.settings, hour, release, inputs, BusinessRules())
        batch = read_table(self.settings, "user_features", version=inputs["user_features"]).combine_chunks()
        default = pa.Table.from_pylist([{"user_id": DEFAULT_USER, "as_of": end_of(hour)}], schema=batch.schema)
        drawn = draw_batch(pa.concat_tables([batch, default]).combine_chunks().to_batches()[0], spec).to_pylist()
        rows = [row for draw in drawn for row in _scored(draw, hour, release_id, self.settings.slates.surface)]
        outputs = {"scores": _write_table(self.settings, "scores", rows)}
        if logged:
            pinned = [{"table": name, "version": version} for name, version in sorted(inputs.items())]
            _write_table(self.settings, "slate_decisions", [draw | _decided(self.settings, hour, release_id, pinned) for draw in drawn])
            _write_table(self.settings, "slate_log", [{name: row[name] for name in TABLES["slate_log"].schema.names} for row in rows])
        done = _ledger_row("score_users", hour, inputs=inputs, outputs=outputs, rows_out=len(rows), release_id=release_id)
        ledger.write_rows(self.settings, [done])


@pytest.fixture
def make_root(settings: Settings, world: World, catalogue) -> Callable[..., LoopRoot]:
    """A root with a catalogue, its vectors and the first release, in force from START."""

    def make(users: int = 160) -> LoopRoot:
        world.save(settings.truth)
        root = LoopRoot(settings, world, world.user_ids[::11][:users])
        records, _ = item_records(catalogue, world)
        items = [record | {"updated_hour": START, "published_at": datetime.fromisoformat(record["published_at"])} for record in records]
        _write_table(settings, "items", items)
        vectors = np.random.default_rng(1).normal(size=(len(items), TEXT_DIM)).astype(np.float32)
        _write_table(settings, "item_embeddings", [
            {"item_id": item["item_id"], "encoder_version": "made-up", "text_hash": "0", "vector": vector.tolist()}
            for item, vector in zip(items, vectors, strict=True)
        ])  # fmt: skip
        root.release(START, save=True)
        return root

    return make


def save_release(folder: Path) -> None:
    """A ranker and a policy with weights of seed 5, which nothing has trained."""
    torch.manual_seed(5)
    names = counter_names(("click", "watch", "rating"))
    config = RankerConfig(names, names, CROSS, ("click", "watch", "rating"), "made-up", TEXT_DIM, dim=8, hidden=16)
    ranker, counters = Ranker(config), torch.rand(50, len(names)) * 20
    history = torch.randint(0, 9, (50, HISTORY))
    user = UserState(counters, history, torch.rand(50, HISTORY), torch.rand(50, HISTORY))
    batch = RankerBatch(user, torch.arange(50) % 8 + 1, counters.flip(0), torch.rand(50) * 99, torch.rand(50, len(CROSS)),
                        torch.arange(50) % 10, torch.rand(50, 3), torch.ones(50), torch.zeros(50, dtype=torch.int64))  # fmt: skip
    ranker.fit_statistics(batch, ItemTable.of_texts(torch.randn(9, TEXT_DIM)))
    save_ranker(ranker.eval(), folder / "ranker")
    save_policy(make_policy(PolicyConfig(user_dim=20, candidate_dim=8, hidden=8)), folder / "policy")


def _counters(random: np.random.Generator, mean: float) -> dict[str, float]:
    return dict(zip(COUNTERS, random.exponential(mean, len(COUNTERS)).tolist(), strict=True))


def _history(random: np.random.Generator, items: list[str], at: datetime) -> list[dict[str, Any]]:
    chosen = random.choice(len(items), size=12, replace=False).tolist()
    return [
        {"ts": (at - timedelta(hours=1 + age)).astimezone(UTC), "event_id": f"e{age}", "item_id": items[row], "weight": random.random(),
         "times": 1.0}
        for age, row in enumerate(chosen)
    ][::-1]


def _decided(settings: Settings, hour: str, release_id: str, pinned: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "surface": settings.slates.surface, "hour": hour, "rules": "none", "seed": settings.seed, "arm": "production", "arm_share": 1.0,
        "release_id": release_id, "versions": {"encoder": "made-up", "ranker": "1", "policy": "1"}, "feature_versions": pinned,
    }  # fmt: skip


def _scored(draw: dict[str, Any], hour: str, release_id: str, surface: str) -> list[dict[str, Any]]:
    versions = {"encoder": "made-up", "ranker": "1", "policy": "1"}
    nearest = draw["nearest_seen"]
    return [
        {
            "user_id": draw["user_id"], "surface": surface, "position": position, "item_id": draw["candidates"][index],
            "score": draw["scores"][position], "propensity": draw["propensities"][position], "slate_id": draw["slate_id"],
            "arm": "production", "source": draw["source"], "release_id": release_id, "versions": versions, "hour": hour,
            "reason": f"like item {nearest[position]}" if draw["source"] == "policy" else "popular this week", "generated_at": end_of(hour),
        }
        for position, index in enumerate(draw["action"])
    ]  # fmt: skip
