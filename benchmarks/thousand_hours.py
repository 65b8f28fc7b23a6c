"""What a thousand hourly commits with daily maintenance leave behind: files, log, and the time of the next read and commit.

    python -m benchmarks.thousand_hours [HOURS]          # default 1000; needs no root: it makes two, of HOURS and of 10 hours

An hour here is one commit of 50 reactions by Spark, three of the ledger and one of metrics by delta-rs, as an hour of the loop makes
them; each 24th is followed by ``recloop maintain``. Then the same read and the same commit alternate between the old root and the young
one. Versions are kept for 7 days of the wall clock, and none of the run's is that old: so the files on disk are the worst case, and
what is bounded here is what readers and writers open. Writes benchmarks/results/hourly_commits_<HOURS>.json.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from deltalake import DeltaTable

from benchmarks.paired import median_ratio
from pipelines.hours import parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.lake.session import spark_session
from pipelines.lake.tables import create_spark_tables, read_table, table_path
from pipelines.lake.writes import replace_hours
from pipelines.local.services import down, ensure_spark
from pipelines.settings import Settings, load_settings
from pipelines.steps import maintain_tables

START, YOUNG, PAIRS, LIMIT = "2026-01-01T00", 10, 15, 1.3
RESULTS = Path(__file__).parent / "results"
STEPS = ("ingest", "build_examples", "build_features")
COLUMNS = "event_id string, request_id string, user_id string, item_id string, ts timestamp, type string, value double, hour string"


def commit(spark, settings: Settings, hour: str) -> None:
    """One hour's commits."""
    at = parse_hour(hour)
    rows = [(f"{hour}-{n}", f"r{n}", f"u{n % 7}", f"i{n % 11}", at, "click", 1.0, hour) for n in range(50)]
    version = replace_hours(spark.createDataFrame(rows, COLUMNS), settings, "feedback", [hour], "ingest")
    for step in STEPS:
        now = datetime.now(UTC)
        row = LedgerRow(hour=hour, step=step, status="done", code_version="c", started_at=now, ended_at=now, outputs={"feedback": version})
        ledger.write_rows(settings, [row])
    write_metrics(settings, hour, [Metric("figure", "bench", 1.0)])


def grow(settings: Settings, hours: int) -> str:
    """The root after these hours; answers the next one."""
    with spark_session(settings) as spark:
        create_spark_tables(spark, settings)
    for day in range(0, hours, 24):
        with spark_session(settings) as spark:
            for number in range(day, min(day + 24, hours)):
                commit(spark, settings, shift(START, number))
        if day + 24 <= hours:
            maintain_tables.run(settings)
        print(f"{settings.home.name}: {min(day + 24, hours)} hours", flush=True)
    return shift(START, hours)


def read_s(settings: Settings, hour: str) -> float:
    """Seconds to read an hour of reactions and its ledger rows, from nothing."""
    began = time.perf_counter()
    count = read_table(settings, "feedback", hours=[hour]).num_rows
    rows = ledger.rows(settings, hour=hour)
    seconds = time.perf_counter() - began
    assert count == 50 and len([row for row in rows if row.step in STEPS]) == len(STEPS), (count, len(rows))
    return seconds


def commit_s(spark, settings: Settings, hour: str) -> float:
    began = time.perf_counter()
    commit(spark, settings, hour)
    return time.perf_counter() - began


def footprint(settings: Settings) -> dict[str, dict[str, int]]:
    """By table: live data files, data files on disk, files of the log, versions."""
    found = {}
    for name in ("feedback", "ledger", "metrics"):
        path = table_path(settings, name)
        table = DeltaTable(str(path))
        on_disk = [file for file in path.rglob("*.parquet") if file.parent.name != "_delta_log"]
        log = list((path / "_delta_log").iterdir())
        found[name] = {"live": len(table.file_uris()), "on_disk": len(on_disk), "log": len(log), "version": table.version()}
    return found


def ratio(old: list[float], young: list[float]) -> dict[str, float]:
    """Median of the per-pair ratios with its bootstrap interval."""
    middle, low, high = median_ratio(old, young)
    return {"ratio": middle, "low": low, "high": high,
            "old_s": statistics.median(old), "young_s": statistics.median(young)}  # fmt: skip


def main() -> None:
    hours = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        homes = {name: Path(scratch) / name for name in ("old", "young")}
        for home in homes.values():
            home.mkdir()
            (home / "recloop.yaml").write_text(f"lake: {{start_hour: {START}, now: loop}}\n")
        old = load_settings(homes["old"], {})
        server = ensure_spark(old)
        try:
            young = load_settings(homes["young"], {"RECLOOP__SPARK__REMOTE": server})
            measure(old, young, hours)
        finally:
            down(old)


def measure(old: Settings, young: Settings, hours: int) -> None:
    nexts = {young.home: grow(young, YOUNG), old.home: grow(old, hours)}
    times: dict[str, dict[Path, list[float]]] = {"read": {old.home: [], young.home: []}, "commit": {old.home: [], young.home: []}}
    with spark_session(old) as old_session, spark_session(young) as young_session:
        for pair in range(PAIRS + 1):
            sides = [(old, old_session), (young, young_session)]
            for settings, session in sides if pair % 2 else reversed(sides):
                seconds = commit_s(session, settings, shift(nexts[settings.home], pair))
                times["commit"][settings.home].append(seconds)
                times["read"][settings.home].append(read_s(settings, shift(nexts[settings.home], pair)))
    found = {what: ratio(both[old.home][1:], both[young.home][1:]) for what, both in times.items()}
    worst = max(found.values(), key=lambda one: one["high"])
    result = {
        "claim": f"the next read and commit after {hours} hourly commits cost what they cost after {YOUNG}", "row": "4", "unit": "times",
        "ours": worst["ratio"], "low": worst["low"], "high": worst["high"], "limit": LIMIT, "met": worst["high"] <= LIMIT,
        "pairs": PAIRS, "parts": found, "footprint": {"old": footprint(old), "young": footprint(young)}, "cores": os.cpu_count(),
    }  # fmt: skip
    (RESULTS / f"hourly_commits_{hours}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
