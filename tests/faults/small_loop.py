"""A loop of sixteen users, its steps as processes that can be killed, and all that its tables say."""

import gzip
import json
import signal
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from deltalake import DeltaTable

from models.hashing import id_hash, uniform
from pipelines.hours import shift
from pipelines.settings import Settings, environment, load_settings
from tests.faults.warm_process import ONE_THREAD, run_warm

START = "2026-11-10T08"
HOURS = [shift(START, number) for number in range(3)]
SIGKILLED = -signal.SIGKILL
STEPS = ("build_features", "score_users", "finetune_ranker", "refresh_policy", "promote_models")
USERS, ITEMS = [f"u{n}" for n in range(16)], [f"i{n}" for n in range(30)]
RUN = """
import sys
from pathlib import Path
from importlib import import_module
from pipelines.settings import load_settings
settings = load_settings(Path(sys.argv[1]))
outcome = import_module(f"pipelines.steps.{sys.argv[2]}").run(settings, sys.argv[3])
print(f"{outcome.status}: {outcome.detail}", flush=True)
import os
os._exit(0)
"""
torch.set_num_threads(1)


def land(home: Path, kind: str, name: str, records: list[dict[str, object]]) -> None:
    folder = home / "landing" / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode()))


def begin_root(home: Path, spark_server: str) -> Settings:
    """A root of small slates and models, with its history landed."""
    home.mkdir()
    values = {
        "lake": {"start_hour": START, "now": "loop"}, "spark": {"remote": spark_server},
        "slates": {"size": 5, "candidates": 12, "seen_days": 0}, "policy": {"steps": 5}, "ranker": {"dim": 8, "hidden": 8},
    }  # fmt: skip
    (home / "recloop.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    _land_history(home)
    return load_settings(home, {})


def _land_history(home: Path) -> None:
    """A catalogue, and ten ratings a user before the first hour ends."""
    genres = ("Drama", "Comedy", "Western")
    items = [
        {"item_id": item, "title": f"{genres[n % 3]} {item}", "text": f"A {genres[n % 3]} about {item}", "tags": [genres[n % 3]],
         "attributes": {"duration_s": "5400"}, "published_at": "2026-09-01T00:00:00Z"}
        for n, item in enumerate(ITEMS)
    ]  # fmt: skip
    ratings = [
        {"event_id": f"r{u}-{k}", "user_id": user, "item_id": ITEMS[(u * 3 + k * 7) % len(ITEMS)], "type": "rating",
         "ts": f"2026-11-0{1 + k % 9}T{u:02d}:00:00Z", "value": float(1 + (u + k) % 5)}
        for u, user in enumerate(USERS) for k in range(10)
    ]  # fmt: skip
    land(home, "items", "catalogue", items)
    land(home, "feedback", "history", ratings)


def land_reactions(home: Path, hour: str) -> None:
    """Every user is shown the slate that ``scores`` holds, and clicks by a hash."""
    slates = DeltaTable(str(home / "warehouse" / "scores")).to_pyarrow_table().to_pylist()
    shown, clicked = [], []
    for row in slates:
        if row["user_id"] not in USERS:
            continue
        name, ts = f"{row['user_id']}-{row['item_id']}-{hour}", f"{hour}:{10 + row['position']:02d}:00Z"
        event = {"user_id": row["user_id"], "item_id": row["item_id"], "ts": ts, "request_id": f"{row['user_id']}-{hour}"}
        shown.append(event | {"event_id": f"s{name}", "slate_id": row["slate_id"], "position": row["position"], "surface": "home"})
        if uniform(3, 1, id_hash([name]))[0] < 0.3:
            clicked.append(event | {"event_id": f"c{name}", "type": "click"})
    assert shown and clicked
    land(home, "impressions", hour, shown)
    land(home, "feedback", hour, clicked)


def start_step(home: Path, step: str, hour: str, **environ: str) -> subprocess.Popen[str]:
    """The step of the hour in a process of its own."""
    command = [sys.executable, "-c", RUN, str(home), step, hour]
    return subprocess.Popen(command, env=environment(**ONE_THREAD, **environ), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run_step(home: Path, step: str, hour: str, failpoint: str | None = None) -> subprocess.CompletedProcess[str]:
    """The same, to its end; it ends itself at the failpoint."""
    status, printed = run_warm(home, step, hour, **({"RECLOOP__FAILPOINT": failpoint} if failpoint else {}))
    return subprocess.CompletedProcess([str(home), step, hour], status, printed)


def finish_step(home: Path, step: str, hour: str) -> str:
    """The step in this process, which has long imported what it needs."""
    outcome = import_module(f"pipelines.steps.{step}").run(load_settings(home, {}), hour)
    return f"{outcome.status}: {outcome.detail}"


def said(settings: Settings) -> dict[str, list[str]]:
    """Every row of every table but the ledger, in an order of its own, by delta-rs; and the files of releases and candidates."""
    found = {path.name: _rows(path) for path in settings.warehouse.iterdir() if path.name != "ledger"}
    for folder in ("releases", "candidates"):
        files = (path for path in (settings.home / folder).rglob("*") if path.is_file())
        found[f"files of {folder}"] = sorted(f"{path.relative_to(settings.home)} {sha256(path.read_bytes()).hexdigest()}" for path in files)
    return found


def differing(found: dict[str, list[str]], wanted: dict[str, list[str]]) -> list[str]:
    """What only one of them says: + ``found``, - ``wanted``."""
    sides = (("+", found, wanted), ("-", wanted, found))
    return [
        f"{sign} {name}: {row}"
        for name in sorted({*found, *wanted}) for sign, own, other in sides
        for row in (Counter(own.get(name, [])) - Counter(other.get(name, []))).elements()
    ]  # fmt: skip


def _rows(path: Path) -> list[str]:
    rows: list[dict[str, Any]] = DeltaTable(str(path)).to_pyarrow_table().to_pylist()
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in rows)
