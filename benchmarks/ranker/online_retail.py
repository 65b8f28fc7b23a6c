"""recloop's ranker and its peers on UCI Online Retail, test-then-train on the same candidate sets.

    RECLOOP_BENCH_DATA=FOLDER make bench-ranker        # FOLDER/online_retail/online_retail_2010_2011.parquet

The first load ends in July 2011; candidates begin in August, so that peers have seen a month before they are judged, on September to
November. The log does not say what was shown: negatives are sampled (candidate_sampling.py). Writes one file a claim into
benchmarks/results/. The root is kept in $RECLOOP_BENCH_ROOT (default .recloop-bench) and used again.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from benchmarks.ranker import peers
from benchmarks.ranker.candidate_sampling import sampled_sets
from benchmarks.ranker.results import write_gains
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import ScoredHour
from pipelines.hours import hour_range
from pipelines.importers.import_log import import_log
from pipelines.lake import ledger
from pipelines.local.services import down, ensure_spark
from pipelines.settings import Settings, load_settings
from pipelines.steps import build_features
from spark_jobs.counters import counter_names

HERE = Path(__file__).parent
START, LAST = "2011-07-31T23", "2011-11-30T23"
SINCE, JUDGED, UNTIL = (pd.Timestamp(day, tz="UTC") for day in ("2011-08-01", "2011-09-01", "2011-12-01"))
SHARE, SEED = 0.15, 5
GOALS = {  # performance goals, rows 1 and 2
    "frozen weights": ("1", 0.0), "daily weights": ("1", 0.0), "daily": ("1", 0.0), "popularity": ("2", 0.04),
    "LambdaRank on the same counters": ("2", 0.02), "LambdaRank with text and history too": ("2", 0.005),
    "River logistic regression": ("1", 0.0),
}  # fmt: skip


class PeerArms:
    """Logits of each peer for the candidates of every hour, each predicted before the hour's labels are told."""

    def __init__(self, rows: int, names: Sequence[str]) -> None:
        columns = [number for number, name in enumerate(names) if name.startswith("purchases_")]
        self._on_counters = (peers.Popularity(columns), peers.LambdaRank("LambdaRank on the same counters"), peers.RiverRegression())
        self._with_text = (peers.LambdaRank("LambdaRank with text and history too"),)
        self._names = tuple(names)
        self.logits = {peer.name: np.full(rows, np.nan) for peer in (*self._on_counters, *self._with_text)}

    def __call__(self, hour: ScoredHour) -> None:
        batch = hour.view.inputs(hour.part, self._names)
        plain = peers.counters(batch)
        full = np.concatenate([plain, peers.similarities(batch, hour.view.catalogue.table.vectors)], axis=1)
        label = hour.part["label"].to_numpy()
        group = np.unique(hour.part["impression_id"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
        for features, some in ((plain, self._on_counters), (full, self._with_text)):
            for peer in some:
                if (found := peer.predict(features)) is not None:
                    self.logits[peer.name][hour.rows] = found
                peer.observe(hour.hour, features, label, group)


def prepared(home: Path, log: Path) -> Settings:
    """The root with the tables of all hours; made where it is not there yet."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "recloop.yaml").write_text(f"domain: ecommerce\nlake: {{start_hour: {START}, now: loop}}\n")
    settings = load_settings(home, {})
    if ledger.last_done(settings, "build_features", LAST) is None:
        import_log(settings, [str(log)], HERE / "online_retail.yaml")
        try:
            ensure_spark(settings)
            build_features.run(settings, LAST, at_most=len(hour_range(START, LAST)))
        finally:
            down(settings)
    return settings


def purchases(log: Path) -> pd.DataFrame:
    """What the mapping takes of the log, for the sampling of candidates."""
    rows = pd.read_parquet(log)
    rows = rows[rows["CustomerID"].notna() & (rows["Quantity"] > 0)]
    ts = pd.to_datetime(rows["InvoiceDate"]).dt.tz_localize("Europe/London").dt.tz_convert("UTC")
    user = rows["CustomerID"].astype(int).astype(str)
    found = pd.DataFrame({"basket": rows["InvoiceNo"], "user": user, "item": rows["StockCode"], "ts": ts})
    return found.sort_values("ts", kind="stable", ignore_index=True)


def judged(scored: Scored, peer_logits: dict) -> Scored:
    """All arms on the months of judging; the rows that a peer did not score count for no comparison with it."""
    rows = pc.greater_equal(scored.table["ts"], JUDGED.to_pydatetime())
    mask = rows.to_numpy(zero_copy_only=False)
    logits = {name: values[mask] for name, values in {**scored.logits, **peer_logits}.items() if not np.isnan(values[mask]).all()}
    return Scored(scored.table.filter(rows), logits, scored.known_user[mask], scored.known_item[mask])


def main() -> None:
    log = Path(os.environ.get("RECLOOP_BENCH_DATA", "")) / "online_retail" / "online_retail_2010_2011.parquet"
    if not log.exists():
        sys.exit(f"no file {log}; set RECLOOP_BENCH_DATA to the folder that holds online_retail/")
    settings = prepared(Path(os.environ.get("RECLOOP_BENCH_ROOT", ".recloop-bench")) / "online-retail", log)
    sets = sampled_sets(purchases(log), SINCE, UNTIL, SHARE, SEED)
    path = settings.home / "candidates.parquet"
    sets.to_parquet(path, index=False)
    arms = PeerArms(len(sets), counter_names(settings.reward.tasks))
    found = judged(evaluate(settings, path, settings.home / "scored.parquet", on_hour=arms), arms.logits)
    workload = "Sep to Nov 2011, 15 % of the baskets, 50 negatives a positive by count^0.75 of the week before"
    write_gains(found, "online_retail", "purchases (UCI Online Retail)", GOALS, workload)


if __name__ == "__main__":
    main()
