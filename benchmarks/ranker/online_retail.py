"""recloop's ranker and its peers on UCI Online Retail, test-then-train on the same candidate sets.

    RECLOOP_BENCH_DATA=FOLDER make bench-ranker        # FOLDER/online_retail/online_retail_2010_2011.parquet

The first load ends in July 2011; candidates begin in August, a month for peers to learn and to be chosen in; judged are September to
November. The log does not say what was shown: negatives are sampled from what was bought in the week before (candidate_sampling.py). Writes
one file a claim into benchmarks/results/. The root is kept and used again (walks.py).
"""

import os
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.ranker.bench import HERE, command, measure
from benchmarks.ranker.candidate_sampling import Sampler
from benchmarks.ranker.log_split import Split
from benchmarks.ranker.walks import Benchmark
from pipelines.errors import UserError

SPLIT = Split(start="2011-07-31T23", judged="2011-09-01T00", last="2011-11-30T23")
SAMPLER = Sampler(negatives=50, share=0.15)


def purchases(log: Path) -> pd.DataFrame:
    """basket, user, item, ts, liked of what the mapping takes of the log, oldest first: what the sampler takes."""
    rows = pd.read_parquet(log)
    rows = rows[rows["CustomerID"].notna() & (rows["Quantity"] > 0)]
    ts = pd.to_datetime(rows["InvoiceDate"]).dt.tz_localize("Europe/London").dt.tz_convert("UTC")
    user = rows["CustomerID"].astype(int).astype(str)
    found = pd.DataFrame({"basket": rows["InvoiceNo"], "user": user, "item": rows["StockCode"], "ts": ts, "liked": True})
    return found.sort_values("ts", kind="stable", ignore_index=True)


def candidates(log: Path, seed: int) -> pd.DataFrame:
    return SAMPLER.sets(purchases(log), SPLIT.since, SPLIT.until, seed)


def run(seeds: range) -> None:
    """Everything, for these seeds."""
    log = Path(os.environ.get("RECLOOP_BENCH_DATA", "")) / "online_retail" / "online_retail_2010_2011.parquet"
    if not log.exists():
        raise UserError(f"no file {log}; set RECLOOP_BENCH_DATA to the folder that holds online_retail/")
    workload = "Sep to Nov 2011, 15 % of the baskets, 50 negatives a positive by count^0.75 of the week before"
    bench = Benchmark("online_retail", "purchases (UCI Online Retail)", "ecommerce", SPLIT, "purchases", workload, partial(candidates, log))
    measure(bench, [log], HERE / "online_retail.yaml", seeds)


if __name__ == "__main__":
    command(str(__doc__).splitlines()[0], run)
