"""The root of a benchmark: a log's tables, and the walks over its candidates. Each is made once and kept.

It lies in $RECLOOP_BENCH_ROOT (default .recloop-bench).
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.ranker import peer_log
from benchmarks.ranker.log_split import Split
from benchmarks.ranker.peer_log import PeerLog, Recorder
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
        scored = evaluate(settings, candidates, folder / "scored.parquet", on_hour=recorder)[settings.reward.tasks[0]]
        recorder.log().save(folder / "peers.npz")
        np.savez(folder / "unfinished.npz", known_user=scored.known_user, known_item=scored.known_item, **scored.logits)
        (folder / "unfinished.npz").replace(arms)
    with np.load(arms) as found:
        kept = dict(found)
    known = kept.pop("known_user"), kept.pop("known_item")
    return Walk(Scored(read_candidates(candidates, settings.reward.tasks), kept, *known), PeerLog.load(folder / "peers.npz"), folder)
