"""What the ranker makes of results of a search, on searches that are made of real purchases (UCI Online Retail).

    RECLOOP_BENCH_DATA=FOLDER python -m benchmarks.ranker.searches       # FOLDER/online_retail/online_retail_2010_2011.parquet

The log says what was bought, not what was searched for. For some items of November's baskets a search is made up: the last two words of
the item's title ("lunch bag"), and a page of the 20 items sold before whose titles are nearest by the encoder, in that order; clicked is
what the basket holds. Searches whose page lacks the bought item are left out and counted. Every page lands as impressions with `query`, the
loop learns from them hour by hour, and each is scored before it was learned: in the order of the text alone, for nobody in particular, by
the weights before the first search, and for the user. Judged is the second half of November.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.ranker.bench import HERE
from benchmarks.ranker.log_split import Split, judged
from benchmarks.ranker.online_retail import purchases
from benchmarks.ranker.results import write_gains
from benchmarks.ranker.walks import root_of
from models.encoder import Encoder
from pipelines.errors import UserError
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.evaluation.walk import HOURLY
from pipelines.hours import hour_range
from pipelines.importers.import_log import import_log
from pipelines.lake import ledger
from pipelines.local.landing import write_file
from pipelines.local.services import down, ensure_spark
from pipelines.settings import Settings, load_settings
from pipelines.steps import build_features

SPLIT = Split(start="2011-10-31T23", judged="2011-11-15T00", last="2011-11-30T23")
PAGE, A_BASKET, SHARE, SEED = 20, 3, 0.5, 5
TEXT, NOBODY = "text alone", "the same ranker without the user"
GOALS = {TEXT: ("2", 0.0), NOBODY: ("2", 0.0), "frozen weights": ("1", 0.0)}


def made_up_searches(bought: pd.DataFrame, titles: pd.Series, encoder: Encoder) -> pd.DataFrame:
    """Pages, one row a result: search, user, query, ts, position, item, match, label."""
    first_sold = bought.groupby("item")["ts"].min()
    items = titles.index.to_numpy()
    vectors, sold_us = encoder.encode(titles.tolist()), first_sold.reindex(items).astype("int64").to_numpy()
    asked = _asked(bought, titles)
    texts = sorted(set(asked["query"]))
    queries = dict(zip(texts, encoder.encode(texts), strict=True))
    baskets = bought.groupby("basket")["item"].agg(set)
    pages, missed = [], 0
    for number, row in enumerate(asked.itertuples()):
        match = np.where(sold_us < pd.Timestamp(row.ts).value // _unit(first_sold), vectors @ queries[row.query], -np.inf)
        page = np.argsort(-match, kind="stable")[:PAGE]
        if row.item not in items[page]:
            missed += 1
            continue
        label = np.isin(items[page], list(baskets[row.basket])).astype(float)
        pages.append(pd.DataFrame({
            "search": f"s{number}", "user": row.user, "query": row.query, "ts": row.ts, "position": np.arange(PAGE), "item": items[page],
            "match": match[page], "label": label,
        }))  # fmt: skip
    print(f"{len(pages):,} searches, {missed:,} left out: the bought item is not among the {PAGE} nearest")
    return pd.concat(pages, ignore_index=True)


def _unit(times: pd.Series) -> int:
    """Nanoseconds a unit of these times as integers."""
    return {"ns": 1, "us": 1000, "s": 10**9}[times.dt.unit]


def _asked(bought: pd.DataFrame, titles: pd.Series) -> pd.DataFrame:
    """Some items of some baskets of the split, with what is searched for to find each."""
    rng = np.random.default_rng(SEED)
    rows = bought[(bought["ts"] >= SPLIT.since) & (bought["ts"] < SPLIT.until)].drop_duplicates(["basket", "item"])
    kept = rng.random(rows["basket"].nunique()) < SHARE
    rows = rows[rows["basket"].isin(rows["basket"].unique()[kept])]
    rows = rows.assign(query=rows["item"].map(titles.map(_last_words))).dropna(subset=["query"])
    rows = rows.iloc[rng.permutation(len(rows))].groupby("basket").head(A_BASKET)
    return rows.sort_values(["ts", "basket", "item"], ignore_index=True)


def _last_words(title: str) -> str | None:
    words = re.findall(r"[a-z]{3,}", title.lower())
    return " ".join(words[-2:]) if len(words) >= 2 else None


def land(settings: Settings, pages: pd.DataFrame) -> None:
    """The pages as impressions, and a click on everything of them that was bought."""
    shown = [
        {"event_id": f"{row.search}-{row.position}", "request_id": row.search, "user_id": row.user, "item_id": row.item, "query": row.query,
         "position": row.position, "ts": row.ts.isoformat(), "surface": "search"}
        for row in pages.itertuples()
    ]  # fmt: skip
    clicked = pages[pages["label"] > 0]
    clicks = [
        {"event_id": f"c-{row.search}-{row.position}", "request_id": row.search, "user_id": row.user, "item_id": row.item,
         "ts": row.ts.isoformat(), "type": "click"}
        for row in clicked.itertuples()
    ]  # fmt: skip
    for kind, records in (("impressions", shown), ("feedback", clicks)):
        write_file(settings.landing / kind / "searches.jsonl", "".join(json.dumps(record) + "\n" for record in records).encode())


def prepared(log: Path) -> tuple[Settings, pd.DataFrame]:
    """The root with the tables of all hours, made where it is not there yet, and the pages."""
    home = root_of("searches")
    home.mkdir(parents=True, exist_ok=True)
    (home / "recloop.yaml").write_text(f"domain: ecommerce\nlake: {{start_hour: {SPLIT.start}, now: loop}}\n")
    settings, kept = load_settings(home, {}), home / "pages.parquet"
    if not kept.exists():
        bought = purchases(log)
        rows = pd.read_parquet(log, columns=["StockCode", "Description"]).dropna()
        titles = rows.groupby("StockCode")["Description"].last()
        titles = titles[titles.index.isin(bought["item"].unique())]
        made_up_searches(bought[bought["ts"] < SPLIT.until], titles, Encoder.load()).to_parquet(kept)
    pages = pd.read_parquet(kept)
    if ledger.last_done(settings, "build_features", SPLIT.last) is None:
        import_log(settings, [str(log)], HERE / "online_retail.yaml")
        land(settings, pages)
        try:
            ensure_spark(settings)
            build_features.run(settings, SPLIT.last, at_most=len(hour_range(SPLIT.start, SPLIT.last)))
        finally:
            down(settings)
    return settings, pages


def scored(settings: Settings, pages: pd.DataFrame) -> Scored:
    """The arms for the user; each page again for somebody unknown; and the text's own order."""
    sets = pages.rename(columns={"search": "impression_id"})[["impression_id", "user", "item", "ts", "label", "query"]]
    nobody = sets.assign(impression_id="x" + sets["impression_id"], user="nobody " + sets["impression_id"])
    path = settings.home / "candidates.parquet"
    pd.concat([sets, nobody], ignore_index=True).to_parquet(path, index=False)
    found, n = evaluate(settings, path, settings.home / "scored.parquet")[settings.reward.tasks[0]], len(sets)

    def own(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[:n]

    arms = {name: own(values) for name, values in found.logits.items()}
    peers = {TEXT: pages["match"].to_numpy(dtype=float), NOBODY: found.logits[HOURLY.name][n:]}
    table = Scored(found.table.slice(0, n), arms, found.known_user[:n], found.known_item[:n])
    return judged(table, peers, SPLIT)


def main() -> None:
    log = Path(os.environ.get("RECLOOP_BENCH_DATA", "")) / "online_retail" / "online_retail_2010_2011.parquet"
    if not log.exists():
        raise UserError(f"no file {log}; set RECLOOP_BENCH_DATA to the folder that holds online_retail/")
    workload = f"15 to 30 Nov 2011, made-up searches for bought items (the last two words of a title), pages of {PAGE} by text"
    write_gains(scored(*prepared(log)), "searches", "results of a search", GOALS, workload)


if __name__ == "__main__":
    main()
