"""Ratios of paired runs, and the files of results that the README's table is made of."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def median_ratio(peer: Sequence[float], ours: Sequence[float], seed: int = 7) -> tuple[float, float, float]:
    """Median of the pairs' first over second, and its 95 % bootstrap interval."""
    ratios = np.array(peer) / np.array(ours)
    again = np.median(np.random.default_rng(seed).choice(ratios, (2000, len(ratios))), axis=1)
    return float(np.median(ratios)), *(float(value) for value in np.quantile(again, [0.025, 0.975]))


def commit() -> str:
    """The checkout's, short."""
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def write_result(name: str, result: dict[str, Any]) -> None:
    """One claim; ``measured`` and ``goal_text`` are what the README's table says."""
    (RESULTS / f"{name}.json").write_text(json.dumps(result | {"commit": commit()}, indent=2) + "\n")
    print(f"{result['claim']}: {result['measured']}; goal {result['goal_text']}: {'met' if result['met'] else 'not met'}")
