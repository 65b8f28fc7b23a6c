"""The peers with their default and their best settings; the best is chosen on the warm-up alone."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ranker.log_split import Split
from benchmarks.ranker.peer_log import PeerLog, auc_within_sets, texts, told
from benchmarks.ranker.peers import lambdarank, nrms, vowpal
from benchmarks.ranker.peers.candidates import Floats, Peer
from benchmarks.ranker.peers.simple import Popularity, RiverRegression
from pipelines.local.landing import write_file

Setting = dict[str, Any]
Dimensions = Sequence[Sequence[Setting]]
AS_DEFAULT = " (default setting)"  # after the name of a peer


@dataclass(frozen=True)
class Contender:
    """``make``: a new peer for a log and a setting. ``dimensions``: what is tried beside the default, see ``search``."""

    name: str
    make: Callable[..., Peer]
    default: Setting
    dimensions: Dimensions = ()


@dataclass(frozen=True)
class Chosen:
    """The best setting on the warm-up, and every setting that was tried with its AUC within a candidate set there."""

    setting: Setting
    tried: list[tuple[Setting, float]]


def contenders(names: Sequence[str], popular: str) -> list[Contender]:
    """``names``: of the counters in their order. ``popular``: what popularity counts, such as purchases; a pattern."""
    columns = [number for number, name in enumerate(names) if re.fullmatch(rf"({popular})_\d+h", name)]
    rates: Dimensions = (({"rate": 0.003}, {"rate": 0.03}),)
    return [
        Contender("popularity", lambda _, **__: Popularity(columns), {}),
        *(
            Contender(name, partial(_lambdarank, likeness), lambdarank.DEFAULT, lambdarank.DIMENSIONS)
            for name, likeness in (("LambdaRank on the same counters", False), ("LambdaRank with text, history and co-likes too", True))
        ),
        Contender("River logistic regression", lambda _, rate: RiverRegression(rate), {"rate": 0.01}, rates),
        Contender("Vowpal Wabbit", lambda _, arguments: vowpal.VowpalWabbit(arguments), vowpal.DEFAULT, vowpal.DIMENSIONS),
        Contender("NRMS head", lambda log, **setting: nrms.NRMS(texts(log), **setting), nrms.DEFAULT, nrms.DIMENSIONS),
    ]  # fmt: skip


def _lambdarank(likeness: bool, _: PeerLog, **setting: Any) -> Peer:
    return lambdarank.LambdaRank(likeness, **setting)


def search(default: Setting, dimensions: Dimensions, figure: Callable[[Setting], float]) -> Chosen:
    """One dimension after the other, each starting from the best so far; a tie changes nothing. nan is worse than anything."""
    best, tried = default, [(default, figure(default))]
    top = np.nan_to_num(tried[0][1], nan=-np.inf)
    for options in dimensions:
        start = best
        for option in options:
            setting = start | option
            if any(setting == known for known, _ in tried):
                continue
            tried.append((setting, figure(setting)))
            if tried[-1][1] > top:
                best, top = setting, tried[-1][1]
    return Chosen(best, tried)


def chosen(contender: Contender, log: PeerLog, split: Split, rows: int, kept: Path) -> Chosen:
    """By the second half of the warm-up, each setting learning from its beginning. ``kept``: figures that are there, and those to come."""
    warm_up = log.until(split.judged)
    figures: list[tuple[Setting, float]] = [(setting, value) for setting, value in json.loads(kept.read_text())] if kept.exists() else []

    def figure(setting: Setting) -> float:
        known = [value for tried, value in figures if tried == setting]
        if not known:
            known = [auc_within_sets(warm_up, told(contender.make(warm_up, **setting), warm_up, rows), split.chosen_from)]
            print(f"  {contender.name}: {known[0]:.4f} {setting}", flush=True)
            figures.append((setting, known[0]))
            write_file(kept, (json.dumps(figures, indent=2) + "\n").encode())
        return known[0]

    return search(contender.default, contender.dimensions, figure)


def logits_of(contender: Contender, log: PeerLog, choice: Chosen, rows: int, folder: Path) -> Iterator[tuple[str, Floats]]:
    """Name and logits (rows,) of the chosen setting, and of the default where it is another; kept in ``folder``."""
    settings = {contender.name: choice.setting}
    if choice.setting != contender.default:
        settings[contender.name + AS_DEFAULT] = contender.default
    for name, setting in settings.items():
        named = hashlib.sha256(json.dumps([contender.name, setting], sort_keys=True).encode()).hexdigest()
        path = folder / f"{named[:12]}.npy"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            np.save(path, told(contender.make(log, **setting), log, rows))
        yield name, np.load(path)
