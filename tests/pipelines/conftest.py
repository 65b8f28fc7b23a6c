"""A root with training examples and what the ledger says of them, without Spark: enough for all that learns from them."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake

from pipelines.clock import wall_clock
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.tables import table_path, table_version
from pipelines.settings import Settings, load_settings
from spark_jobs.contracts import TABLES

FIRST_HOUR, USERS, ITEMS, SHOWN = "2026-11-10T08", 30, 12, 6


@pytest.fixture
def note_done() -> Callable[..., None]:
    """Rows of the ledger for a step that finished these hours."""

    def note(settings: Settings, step: str, hours: list[str], outputs: dict[str, int] | None = None) -> None:
        now = wall_clock()
        ledger.write_rows(settings, [LedgerRow(hour, step, "done", "test", now, now, outputs=outputs or {}) for hour in hours])

    return note


@pytest.fixture
def make_examples_root(tmp_path, note_done) -> Callable[..., Settings]:
    """Users meet items that are the better the more often they were shown in the last hour: there is something to learn, and quickly."""

    def make(hours: int, **environ: str) -> Settings:
        home = tmp_path / "examples"
        home.mkdir()
        ranker = {"dim": 8, "hidden": 16, "batch_size": 64, "replay_ratio": 1}
        (home / "recloop.yaml").write_text(yaml.safe_dump({"lake": {"start_hour": FIRST_HOUR, "now": "loop"}, "ranker": ranker}))
        settings, random = load_settings(home, environ), np.random.default_rng(3)
        named = [shift(FIRST_HOUR, n) for n in range(hours)]
        item = {"updated_hour": FIRST_HOUR, "title": "i", "available": True, "published_at": end_of(FIRST_HOUR)}
        rows = {
            "training_examples": ("build_examples", [row for hour in named for row in _shown(hour, random)]),
            "items": ("ingest", [item | {"item_id": f"i{n}"} for n in range(ITEMS)]), "item_embeddings": ("embed_items", []),
            "item_hour": ("build_increments", []), "item_features": ("build_features", []),
        }  # fmt: skip
        for name, (step, values) in rows.items():
            table = pa.Table.from_pylist(values, schema=TABLES[name].schema)
            write_deltalake(str(table_path(settings, name)), table, partition_by=list(TABLES[name].partition) or None)
            note_done(settings, step, named, {name: table_version(settings, name)})
        return settings

    return make


def _shown(hour: str, random: np.random.Generator) -> Iterator[dict[str, Any]]:
    start = parse_hour(hour)
    for user in range(USERS):
        for position, item in enumerate(random.permutation(ITEMS)[:SHOWN]):
            click = float(random.random() < 1 / (1 + np.exp(3 - item / 2)))
            yield {
                "example_id": f"{hour}-{user}-{position}", "revision": 0, "user_id": f"u{user}", "item_id": f"i{item}",
                "ts": start + timedelta(minutes=5), "known_at": start, "position": position, "labels": {"click": click}, "reward": 0.0,
                "reward_version": "v", "user": {"recent": []}, "item": {"impressions_1h": float(item)}, "hour": hour,
            }  # fmt: skip
