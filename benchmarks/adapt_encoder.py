"""What an encoder gains by clicks over the frozen MiniLM on UCI Online Retail, on items that nobody had met above all.

    RECLOOP_BENCH_DATA=FOLDER python -m benchmarks.adapt_encoder [--items 500] [--epochs 2] [--method lora]

A hashed sample of items keeps it to minutes on two cores; a fifth of them is held out: in no training row and in no history. Learned from
the baskets of March to August 2011, judged on those of September to November. The log does not say what was shown: negatives are
sampled from the purchases of the week before (count^0.75). Rankers are fitted anew on the vectors of each encoder, three seeds whose
scores are averaged: on text and history alone, and with the items' purchase counters of 7 and 28 days. One adapter, one seed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.ranker.candidate_sampling import Sampler
from models.adapted_encoder import AdaptedEncoder
from models.adapters import AdapterSettings
from models.click_adaptation import ClickSettings, ItemTexts, adapt_by_clicks, click_head, text_only
from models.encoder import Encoder
from models.encoder_files import default_encoder_path
from models.hashing import id_hash, uniform
from models.metrics import auc_per_user, user_difference
from models.ranker import Ranker, RankerConfig
from models.records import ItemTable, RankerBatch, UserState
from models.training import FinetuneSettings, TrainState, finetune

SINCE, CUT, UNTIL = (pd.Timestamp(day, tz="UTC") for day in ("2011-03-01", "2011-09-01", "2011-12-01"))
HISTORY, DAYS, LEAST_SOLD, TOKENS = 10, (7, 28), 30, 64
SEEDS = (1, 2, 3)
SAMPLER = Sampler(negatives=50)
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Log:
    """``items``: codes in order, item row n + 1; the held-out ones are True in ``cold`` (N,)."""

    purchases: pd.DataFrame
    items: list[str]
    texts: list[str]
    cold: np.ndarray


@dataclass(frozen=True)
class Judged:
    """Rows with the number of their user, and whether their item was held out."""

    batch: RankerBatch
    user: np.ndarray
    cold: np.ndarray


def read_log(path: Path, count: int, seed: int) -> Log:
    """Purchases of a hashed sample of the items that sold at least LEAST_SOLD times and have a text."""
    rows = pd.read_parquet(path, columns=["InvoiceNo", "CustomerID", "StockCode", "Description", "Quantity", "InvoiceDate"])
    rows = rows[rows["CustomerID"].notna() & (rows["Quantity"] > 0)]
    sold = rows["StockCode"].value_counts()
    texts = rows.dropna(subset=["Description"]).groupby("StockCode")["Description"].agg(lambda names: names.mode().iloc[0].strip())
    names = sorted(set(sold.index[sold >= LEAST_SOLD]) & set(texts.index[texts.str.len() > 3]))
    chance = uniform(seed, 1, id_hash(names))
    items = sorted(np.array(names)[np.argsort(chance)[:count]].tolist())
    ts = pd.to_datetime(rows["InvoiceDate"]).dt.tz_localize("Europe/London").dt.tz_convert("UTC")
    user = rows["CustomerID"].astype(int).astype(str)
    purchases = pd.DataFrame({"basket": rows["InvoiceNo"], "user": user, "item": rows["StockCode"], "ts": ts})
    purchases = purchases[purchases["item"].isin(items)].sort_values("ts", kind="stable", ignore_index=True)
    return Log(purchases, items, [texts[item] for item in items], uniform(seed, 2, id_hash(items)) < 0.2)


def rows_of(log: Log, since: pd.Timestamp, until: pd.Timestamp, negatives: float, seed: int) -> tuple[RankerBatch, np.ndarray]:
    """Candidates with what was known before their hour; ``negatives``: share of the 50 a positive that is kept."""
    sets = SAMPLER.sets(log.purchases.assign(liked=True), since, until, seed)
    keep = (sets["label"].to_numpy() > 0) | (np.random.default_rng(seed).random(len(sets)) < negatives)
    sets = sets[keep].reset_index(drop=True)
    code = {item: row for row, item in enumerate(log.items, start=1)}
    item, at = sets["item"].map(code).to_numpy(), sets["ts"].dt.floor("h")
    history, age_h = _histories(log, code, sets["user"].to_numpy(), at)
    counters = _counters(log, code, item, at)
    user = UserState(
        torch.from_numpy((history > 0).sum(1, keepdims=True).astype(np.float32)), torch.from_numpy(history),
        torch.from_numpy(age_h), torch.from_numpy((history > 0).astype(np.float32)),
    )  # fmt: skip
    zeros, rows = torch.zeros(len(sets), dtype=torch.int64), len(sets)
    label = torch.from_numpy(sets["label"].to_numpy(dtype=np.float32))[:, None]
    none = torch.zeros(rows), torch.zeros(rows, 0)
    batch = RankerBatch(user, torch.from_numpy(item), counters, *none, zeros, label, torch.ones(rows), zeros)
    return batch, sets["user"].factorize()[0]


def _histories(log: Log, code: dict[str, int], users: np.ndarray, at: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Newest known items (rows, HISTORY) before the hour, held-out ones left out, and their ages in hours."""
    known = log.purchases[~log.purchases["item"].map(lambda item: log.cold[code[item] - 1])]
    own = {user: (part["ts"].astype("int64").to_numpy(), part["item"].map(code).to_numpy()) for user, part in known.groupby("user")}
    rows, age_h = np.zeros((len(users), HISTORY), dtype=np.int64), np.zeros((len(users), HISTORY), dtype=np.float32)
    unit = 3600 * {"ns": 10**9, "us": 10**6}[known["ts"].dt.unit]
    for place, (user, time_) in enumerate(zip(users, at.astype("int64").to_numpy(), strict=True)):
        ts, items = own.get(user, (np.zeros(0, np.int64), np.zeros(0, np.int64)))
        last = np.searchsorted(ts, time_)
        past = items[max(0, last - HISTORY) : last]
        if len(past):
            rows[place, -len(past) :] = past
            age_h[place, -len(past) :] = (time_ - ts[max(0, last - HISTORY) : last]) / unit
    return rows, age_h


def _counters(log: Log, code: dict[str, int], item: np.ndarray, at: pd.Series) -> torch.Tensor:
    """Purchases of the item in the last days before the hour (rows, DAYS); of a held-out one nothing is known."""
    sold = {code[name]: part["ts"].astype("int64").to_numpy() for name, part in log.purchases.groupby("item")}
    now = at.astype("int64").to_numpy()
    day = 24 * 3600 * {"ns": 10**9, "us": 10**6}[log.purchases["ts"].dt.unit]
    found = np.zeros((len(item), len(DAYS)), dtype=np.float32)
    for row in np.flatnonzero(~log.cold[item - 1]):
        ts = sold[item[row]]
        found[row] = [np.searchsorted(ts, now[row]) - np.searchsorted(ts, now[row] - days * day) for days in DAYS]
    return torch.from_numpy(found)


def scores(config: RankerConfig, taught: RankerBatch, judged: RankerBatch, table: ItemTable) -> np.ndarray:
    """Mean logit (n,) of rankers fitted on these vectors by each seed."""
    found = np.zeros(len(judged))
    for seed in SEEDS:
        learning = FinetuneSettings(lr=1e-3, batch_size=256, epochs=3, seed=seed)
        torch.manual_seed(seed)
        ranker = Ranker(config)
        ranker.fit_statistics(taught, table)
        ranker = finetune(TrainState.create(ranker, learning), taught, table, learning).served()
        with torch.no_grad():
            parts = [judged.rows(slice(start, start + 4096)) for start in range(0, len(judged), 4096)]
            found += torch.cat([ranker(part, table)[:, 0] for part in parts]).double().numpy() / len(SEEDS)
    return found


def adapted_table(
    log: Log, config: RankerConfig, taught: RankerBatch, frozen: ItemTable, adapter: AdapterSettings, clicks: ClickSettings
) -> ItemTable:
    """Vectors of the merged encoder, read back from its folder."""
    encoder = AdaptedEncoder.read(default_encoder_path(), "mean", TOKENS, adapter, clicks.steps(len(taught)), clicks.seed)
    head, start = click_head(config, taught, frozen, clicks), time.perf_counter()
    adapt_by_clicks(
        encoder, head, taught, ItemTexts.of(log.texts), clicks,
        lambda step, found: print(f"step {step}: loss {found['loss']:.4f}, {time.perf_counter() - start:.0f} s", flush=True),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        encoder.save(Path(folder) / "encoder")
        return ItemTable.from_numpy(Encoder.load(str(Path(folder) / "encoder"), "mean", TOKENS).encode(log.texts))


def report(name: str, judged: Judged, mask: np.ndarray, old: np.ndarray, new: np.ndarray) -> dict[str, object]:
    """AUC per user on the rows of the mask, and the gain with its interval over users."""
    label, user = judged.batch.labels[:, 0].double().numpy()[mask], judged.user[mask]
    gain, low, high = user_difference(label, new[mask], old[mask], user, "auc_per_user")
    ours, peer = (auc_per_user(label, values[mask], user) for values in (new, old))
    users = len(np.unique(user))
    print(f"{name:30} {peer:.4f} -> {ours:.4f}  {gain:+.4f} [{low:+.4f}, {high:+.4f}]  {len(label):,} rows, {users:,} users", flush=True)
    return {"ours": ours, "peer": peer, "gain": gain, "low": low, "high": high, "users": users, "rows": len(label)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--items", type=int, default=500)
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--judged", type=int, default=40_000, help="rows that judge, about: all rows of a hashed sample of the users")
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--batch", type=int, default=2048)
    options.add_argument("--lr", type=float, default=1e-3)
    options.add_argument("--method", default="lora", choices=("lora", "adalora", "bottleneck"))
    options.add_argument("--seed", type=int, default=5)
    given = options.parse_args()
    path = Path(os.environ.get("RECLOOP_BENCH_DATA", "")) / "online_retail" / "online_retail_2010_2011.parquet"
    if not path.exists():
        sys.exit(f"no file {path}; set RECLOOP_BENCH_DATA to the folder that holds online_retail/")
    log = read_log(path, given.items, given.seed)
    taught, _ = rows_of(log, SINCE, CUT, 0.08, given.seed)
    taught = taught.rows(~torch.from_numpy(log.cold)[taught.item - 1])
    order = torch.randperm(len(taught), generator=torch.Generator().manual_seed(given.seed))[: given.rows]
    taught = taught.rows(order)
    batch, user = rows_of(log, CUT, UNTIL, 0.2, given.seed + 1)
    chosen = uniform(given.seed, 3, user.astype(np.uint64)) < given.judged / len(user)
    batch, user = batch.rows(torch.from_numpy(chosen)), user[chosen]
    judged = Judged(batch, user, log.cold[batch.item.numpy() - 1])
    print(f"{len(taught):,} rows teach, {len(batch):,} judge, {len(log.items)} items of which {log.cold.sum()} are held out", flush=True)

    config = RankerConfig(("met",), ("sold_7d", "sold_28d"), (), ("purchase",), "-", 384, history=HISTORY)
    text_config = replace(config, item_counters=())
    frozen = ItemTable.from_numpy(Encoder.load(default_encoder_path(), "mean", TOKENS).encode(log.texts))
    clicks = ClickSettings(epochs=given.epochs, lr=given.lr, batch_size=given.batch, history=HISTORY, texts_at_once=1024, seed=given.seed)
    start = time.perf_counter()
    adapted = adapted_table(log, config, text_only(taught, HISTORY), frozen, AdapterSettings(given.method), clicks)
    seconds = time.perf_counter() - start
    plain = [scores(text_config, text_only(taught, HISTORY), text_only(batch, HISTORY), table) for table in (frozen, adapted)]
    new_items = report("new items, text alone", judged, judged.cold, *plain)
    report("known items, text alone", judged, ~judged.cold, *plain)
    counted = [scores(config, taught, batch, table) for table in (frozen, adapted)]
    report("known items, with counters", judged, ~judged.cold, *counted)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    result = new_items | {
        "claim": f"an encoder adapted to purchases ({given.method}) over the frozen one, new items (UCI Online Retail)", "row": "2",
        "unit": "AUC per user", "peer_name": "frozen MiniLM", "goal": 0.0, "met": float(str(new_items["low"])) > 0, "seeds": 1,
        "workload": f"{vars(given)}, adapted in {seconds:.0f} s", "commit": commit, "cores": os.cpu_count(),
    }  # fmt: skip
    (RESULTS / f"adapt_encoder_{given.method}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
