"""recloop's ranker and its peers on MovieLens-100K in time order, test-then-train on the same candidate sets.

    make bench-ranker            # SEEDS=5 for five runs

The first load ends in October 1997; candidates begin in November, two months for peers to learn and to be chosen in; judged are January to
March 1998. A candidate set is what a user rated within an hour: positives are ratings of 4 and 5 (at most 20) of films that somebody
rated in the week before, negatives are drawn from that week's ratings (10 a positive, count^0.75), none that the user rated up to then.
The files come out of the recbole wheel, kept in the root beside the tables (walks.py). Writes one file a claim into benchmarks/results/.

What to know of this log: half of the people rated everything within an hour, two thirds within a day. So 29 % of the judged sets, with 44 %
of the positives, are of users of whom nothing is known, and most histories are empty when they would matter. The first load (17,008
ratings of 190 users) sees more than that: each of its examples knows everything up to its own event, the same sitting included; later
examples, and every candidate, know only what was there before their hour. So its weights expect histories that later are empty. Figures
of new and of known users are in the files. All films are known from the first hour on: the log says of none when it came.
"""

import zipfile
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.ranker.bench import HERE, command, measure
from benchmarks.ranker.candidate_sampling import Sampler
from benchmarks.ranker.log_split import Split
from benchmarks.ranker.walks import Benchmark, root_of
from pipelines.local.catalogue import RECBOLE
from pipelines.local.pinned_wheel import fetch_wheel

NAME = "movielens"
FOLDER = "recbole/dataset_example/ml-100k"
SPLIT = Split(start="1997-10-31T23", judged="1998-01-01T00", last="1998-03-31T23")
SAMPLER = Sampler(negatives=10, unmet=True)


def log_files(wheel: Path, folder: Path) -> list[Path]:
    """Ratings and films of the wheel as files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "ml-100k.inter", folder / "ml-100k.item"]
    with zipfile.ZipFile(wheel) as archive:
        for file in files:
            file.write_bytes(archive.read(f"{FOLDER}/{file.name}"))
    return files


def ratings(inter: Path) -> pd.DataFrame:
    """basket (user and hour), user, item, ts, liked of the file, oldest first: what the sampler takes."""
    rows = pd.read_csv(inter, sep="\t", dtype={"user_id:token": str, "item_id:token": str})
    ts = pd.to_datetime(rows["timestamp:float"], unit="s", utc=True)
    found = pd.DataFrame({"user": rows["user_id:token"], "item": rows["item_id:token"], "ts": ts, "liked": rows["rating:float"] >= 4})
    found["basket"] = found["user"] + " " + ts.dt.strftime("%Y-%m-%dT%H")
    return found.sort_values(["ts", "user", "item"], kind="stable", ignore_index=True)


def candidates(inter: Path, seed: int) -> pd.DataFrame:
    return SAMPLER.sets(ratings(inter), SPLIT.since, SPLIT.until, seed)


def run(seeds: range) -> None:
    """Everything, for these seeds."""
    home = root_of(NAME)
    files = log_files(fetch_wheel(RECBOLE, home / "cache"), home / "log")
    workload = "Jan to Mar 1998, a user's hour a set, 10 negatives a positive by count^0.75 of the week before, none that the user rated"
    bench = Benchmark(NAME, "ratings (MovieLens-100K)", "video", SPLIT, "ratings|reward", workload, partial(candidates, files[0]))
    measure(bench, files, HERE / "movielens.yaml", seeds)


if __name__ == "__main__":
    command(str(__doc__).splitlines()[0], run)
