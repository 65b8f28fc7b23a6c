"""A benchmark of the ranker on one log: tables, the walk for each seed, peers, claims. Each part is kept and made once.

The root lies in $RECLOOP_BENCH_ROOT (default .recloop-bench): killed, the run goes on from the last part that was finished.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.ranker import peer_log
from benchmarks.ranker.contest import AS_DEFAULT, Chosen, Contender, chosen, contenders, logits_of
from benchmarks.ranker.log_split import Split, judged
from benchmarks.ranker.peer_log import PeerLog, Recorder
from benchmarks.ranker.peers.candidates import Floats
from benchmarks.ranker.results import write_gains
from pipelines.errors import UserError
from pipelines.evaluation.candidate_sets import read_candidates
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.figures import Scored
from pipelines.hours import hour_range
from pipelines.importers.import_log import import_log
from pipelines.lake import ledger
from pipelines.local.code_version import code_version
from pipelines.local.services import down, ensure_spark
from pipelines.settings import Settings, load_settings
from pipelines.steps import build_features
from spark_jobs.counters import counter_names

HERE = Path(__file__).parent
FIRST_SEED = 5
GOALS = {  # performance goals, rows 1 and 2
    "frozen weights": ("1", 0.0), "daily weights": ("1", 0.0), "daily": ("1", 0.0), "popularity": ("2", 0.04),
    "LambdaRank on the same counters": ("2", 0.02), "LambdaRank with text and history too": ("2", 0.005),
    "River logistic regression": ("1", 0.0), "Vowpal Wabbit": ("1", 0.0), "NRMS head": ("2", 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Benchmark:
    """``sets``: candidates (columns of ``recloop evaluate``) by seed. ``popular``: counters that popularity chooses from, a pattern."""

    name: str
    about: str
    domain: str
    split: Split
    popular: str
    workload: str
    sets: Callable[[int], pd.DataFrame]


@dataclass(frozen=True)
class Walk:
    """The arms of one seed on all candidates, and what peers see of these. ``folder``: where results of this very walk are kept."""

    arms: Scored
    log: PeerLog
    folder: Path


def root_of(name: str) -> Path:
    return Path(os.environ.get("RECLOOP_BENCH_ROOT", ".recloop-bench")) / name.replace("_", "-")


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


def prepared(bench: Benchmark, files: list[Path], mapping: Path) -> Settings:
    """The root with the tables of all hours; made where it is not there yet."""
    home, split = root_of(bench.name), bench.split
    home.mkdir(parents=True, exist_ok=True)
    (home / "recloop.yaml").write_text(f"domain: {bench.domain}\nlake: {{start_hour: {split.start}, now: loop}}\n")
    settings = load_settings(home, {})
    if ledger.last_done(settings, "build_features", split.last) is None:
        import_log(settings, [str(file) for file in files], mapping)
        try:
            ensure_spark(settings)
            build_features.run(settings, split.last, at_most=len(hour_range(split.start, split.last)))
        finally:
            down(settings)
    return settings


def walked(bench: Benchmark, seed: int) -> Walk:
    """Test, then train over the candidates of this seed, which is the ranker's too."""
    settings = load_settings(root_of(bench.name), {"RECLOOP__SEED": str(seed)})
    sets = bench.sets(seed)
    said = f"{code_version()} {seed} {Path(peer_log.__file__).read_text()} {pd.util.hash_pandas_object(sets).sum()}"
    folder = settings.home / "walks" / f"{seed}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
    candidates, arms = folder / "candidates.parquet", folder / "arms.npz"
    if not arms.exists():
        folder.mkdir(parents=True, exist_ok=True)
        sets.to_parquet(candidates, index=False)
        recorder = Recorder(counter_names(settings.reward.tasks))
        scored = evaluate(settings, candidates, folder / "scored.parquet", on_hour=recorder)
        recorder.log().save(folder / "peers.npz")
        np.savez(folder / "unfinished.npz", known_user=scored.known_user, known_item=scored.known_item, **scored.logits)
        (folder / "unfinished.npz").replace(arms)
    with np.load(arms) as found:
        kept = dict(found)
    known = kept.pop("known_user"), kept.pop("known_item")
    return Walk(Scored(read_candidates(candidates), kept, *known), PeerLog.load(folder / "peers.npz"), folder)


def with_peers(bench: Benchmark, walk: Walk, choices: Mapping[str, Chosen], some: list[Contender]) -> Scored:
    """All arms and peers on what is judged."""
    found = dict[str, Floats]()
    for contender in some:
        folder = walk.folder / f"peers-{_version()}"
        found |= dict(logits_of(contender, walk.log, choices[contender.name], len(walk.arms.table), folder))
    return judged(walk.arms, found, bench.split)


def joined(runs: Mapping[int, Scored]) -> Scored:
    """The runs of all seeds as one: a user's sets of all seeds are resampled together. A default that is chosen needs no arm of its own."""
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
