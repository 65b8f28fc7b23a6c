"""How long a live hour takes, from its trigger's first step to its scores and to its release decision: the ledger's own times.

    python benchmarks/hour_timing.py            # of the root $RECLOOP_HOME (default .recloop), after `recloop demo`

Prints a line an hour and the medians, and writes benchmarks/results/hour_timing.json. An absolute time says little on a shared
machine: read it beside ``cores`` and ``limit``.
"""

import json
import os
import statistics
from pathlib import Path

from pipelines.lake import ledger
from pipelines.lake.ledger import DONE, LedgerRow
from pipelines.local.evaluation import live_hours
from pipelines.settings import load_settings

LIMIT_S = 60.0
RESULT = Path(__file__).parent / "results" / "hour_timing.json"


def seconds_to(rows: list[LedgerRow], step: str) -> float | None:
    """From the start of the hour's ingest to the end of the step; None where either is missing."""
    began = [row.started_at for row in rows if row.step == "ingest"]
    ended = [row.ended_at for row in rows if row.step == step and row.status in DONE]
    return (min(ended) - min(began)).total_seconds() if began and ended else None


def main() -> None:
    settings = load_settings()
    found = {}
    for hour in live_hours(settings):
        rows = ledger.rows(settings, hour=hour)
        found[hour] = {"scores_s": seconds_to(rows, "score_users"), "decision_s": seconds_to(rows, "promote_models")}
        print(hour, found[hour])
    decisions = sorted(hour["decision_s"] for hour in found.values() if hour["decision_s"] is not None)
    scores = sorted(hour["scores_s"] for hour in found.values() if hour["scores_s"] is not None)
    if not decisions:
        raise SystemExit(f"no live hour with a decision under {settings.home}; run `recloop demo` first")
    made_by = ledger.rows(settings, "promote_models")[-1].code_version
    median = statistics.median(decisions)
    result = {
        "claim": "a live hour reaches its release decision through Airflow", "row": "hour", "unit": "s", "ours": median,
        "low": decisions[0], "high": decisions[-1], "limit": LIMIT_S, "met": median <= LIMIT_S, "scores_s": statistics.median(scores),
        "hours": len(decisions), "code_version": made_by, "cores": os.cpu_count(),
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
