"""A benchmark of the ranker on one log: tables, a walk a seed, peers, claims. Killed, it goes on from the last part that is kept."""

import argparse
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.ranker.contest import AS_DEFAULT, Chosen, Contender, chosen, contenders, logits_of
from benchmarks.ranker.log_split import judged
from benchmarks.ranker.peers.candidates import Floats
from benchmarks.ranker.results import write_gains
from benchmarks.ranker.walks import Benchmark, Walk, prepared, walked
from pipelines.errors import UserError
from pipelines.evaluation.figures import Scored
from spark_jobs.counters import counter_names

HERE = Path(__file__).parent
FIRST_SEED = 5
GOALS = {  # performance goals, rows 1 and 2
    "frozen weights": ("1", 0.0), "daily weights": ("1", 0.0), "daily": ("1", 0.0), "popularity": ("2", 0.04),
    "LambdaRank on the same counters": ("2", 0.02), "LambdaRank with text, history and co-likes too": ("2", 0.005),
    "River logistic regression": ("1", 0.0), "Vowpal Wabbit": ("1", 0.0), "NRMS head": ("2", 0.0),
}  # fmt: skip


def command(about: str, run: Callable[[range], None]) -> None:
    """The benchmark with the seeds of ``--seeds N``; what the user can mend is one line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seeds", type=int, default=1, help="runs, each with its own sampled candidates and first weights (default 1)")
    count = parser.parse_args().seeds
    if count < 1:
        parser.error(f"--seeds is {count}, expected at least 1")
    try:
        run(range(FIRST_SEED, FIRST_SEED + count))
    except UserError as error:
        sys.exit(str(error))


def with_peers(bench: Benchmark, walk: Walk, choices: Mapping[str, Chosen], some: list[Contender]) -> Scored:
    """All arms and peers on what is judged."""
    found = dict[str, Floats]()
    for contender in some:
        folder = walk.folder / f"peers-{_version()}"
        found |= dict(logits_of(contender, walk.log, choices[contender.name], len(walk.arms.table), folder))
    return judged(walk.arms, found, bench.split)


def joined(runs: Mapping[int, Scored]) -> Scored:
    """The runs of all seeds as one: a user's sets of all seeds are resampled together."""
    tables = [
        run.table.set_column(run.table.schema.get_field_index("impression_id"), "impression_id", pa.array(
            [f"{seed} {one}" for one in run.table["impression_id"].to_pylist()]))
        for seed, run in runs.items()
    ]  # fmt: skip
    arms = [arm for arm in next(iter(runs.values())).logits if all(arm in run.logits for run in runs.values())]
    columns = {arm: np.concatenate([run.logits[arm] for run in runs.values()]) for arm in arms}
    known = [np.concatenate([getattr(run, name) for run in runs.values()]) for name in ("known_user", "known_item")]
    return Scored(pa.concat_tables(tables), columns, *known)


def measure(bench: Benchmark, files: list[Path], mapping: Path, seeds: range) -> None:
    """Writes one file a claim. Peers are chosen on the first seed's warm-up."""
    settings = prepared(bench, files, mapping)
    some, runs = contenders(counter_names(settings.reward.tasks), bench.popular), dict[int, Scored]()
    choices = dict[str, Chosen]()
    for seed in seeds:
        walk = walked(bench, seed)
        folder = walk.folder / f"chosen-{_version()}"
        choices = choices or {
            one.name: chosen(one, walk.log, bench.split, len(walk.arms.table), folder / f"{one.name}.json") for one in some
        }  # fmt: skip
        runs[seed] = with_peers(bench, walk, choices, some)
    settings_of = {name: choice.setting for name, choice in choices.items()}
    write_gains(joined(runs), bench.name, bench.about, GOALS, bench.workload, by_seed=runs, settings_of=settings_of, as_default=AS_DEFAULT)


def _version() -> str:
    """Of the peers' code and of how they are chosen."""
    digest = hashlib.sha256((HERE / "contest.py").read_bytes())
    for path in sorted((HERE / "peers").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
