"""A table's Delta log by its files alone: both engines read past an empty commit, so none of them is asked."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lake.verify.findings import Findings, listed

_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(\.\d{10}\.\d{10})?\.parquet")
KEEP_ROWS = frozenset({
    "CREATE TABLE", "ADD CONSTRAINT", "DROP CONSTRAINT", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD FEATURE", "UPGRADE PROTOCOL",
    "ADD COLUMNS", "CHANGE COLUMN", "OPTIMIZE", "VACUUM START", "VACUUM END",
})  # fmt: skip
ENGINES = {"Apache-Spark": "spark", "delta-rs": "delta-rs"}


@dataclass(frozen=True)
class Commit:
    """What a commit says of itself. ``step``, ``first``, ``last``: who made it, for which hours; None where it does not say."""

    version: int
    operation: str
    engine: str
    step: str | None = None
    first: str | None = None
    last: str | None = None

    @property
    def has_rows(self) -> bool:
        """Whether rows may have changed."""
        return self.operation not in KEEP_ROWS


@dataclass(frozen=True)
class Log:
    """Commits that can be read, what is wrong with the others, and the checkpoints (those that cannot be read too)."""

    commits: Mapping[int, Commit]
    damaged: Mapping[int, str]
    checkpoints: Mapping[int, list[Path]]
    unreadable: Mapping[int, str] = field(default_factory=dict)
    pointer: str | None = None

    @cached_property
    def versions(self) -> list[int]:
        return sorted({*self.commits, *self.damaged})

    @property
    def newest(self) -> int:
        return max([*self.versions, *self.checkpoints], default=-1)

    @property
    def oldest_readable(self) -> int:
        """The oldest version that time travel reaches: 0, else the oldest checkpoint."""
        return 0 if 0 in self.commits else min(self.checkpoints, default=0)

    @cached_property
    def gaps(self) -> list[int]:
        """Versions between the oldest commit and the newest that have no file."""
        since = min([*self.versions[:1], max(self.checkpoints, default=-1) + 1])
        return sorted(set(range(since, self.newest + 1)) - set(self.versions))

    @property
    def tells_the_newest(self) -> bool:
        """Whether the newest version can be put together: nothing wrong with the newest checkpoint or after it."""
        checkpoint = max(self.checkpoints, default=-1)
        before = all(version <= checkpoint for version in (*self.damaged, *self.gaps))
        return self.newest >= 0 and checkpoint not in self.unreadable and before


def read_log(folder: Path) -> Log:
    """The log under ``folder``/_delta_log."""
    commits: dict[int, Commit] = {}
    damaged: dict[int, str] = {}
    checkpoints: dict[int, list[Path]] = {}
    for path in sorted((folder / "_delta_log").iterdir()):
        if match := _COMMIT.fullmatch(path.name):
            found = _read_commit(path, int(match[1]))
            if isinstance(found, Commit):
                commits[found.version] = found
            else:
                damaged[int(match[1])] = found
        elif match := _CHECKPOINT.fullmatch(path.name):
            checkpoints.setdefault(int(match[1]), []).append(path)
    newest = max(checkpoints, default=None)
    reason = _unreadable(checkpoints[newest]) if newest is not None else None
    unreadable = {newest: reason} if newest is not None and reason else {}
    return Log(commits, damaged, checkpoints, unreadable, _wrong_pointer(folder / "_delta_log" / "_last_checkpoint", checkpoints))


def check_log(found: Findings, table: str, log: Log, written_by: Mapping[int, str]) -> None:
    """Names gaps, broken commits and broken checkpoints. ``written_by``: versions that the ledger names, and for whom."""
    if log.newest < 0:
        found.add("gap", table, "version 0", "an empty log", "the commit that created the table")
    for version, what in log.damaged.items():
        said = f", as the ledger says: {written_by[version]}" if version in written_by else ""
        found.add("commit", table, f"version {version}", what, f"a commit{said}", _commit_advice(table, version, log))
    if log.gaps:
        known = [f"{version} ({written_by[version]})" if version in written_by else version for version in log.gaps]
        expected = f"every version up to {log.newest}"
        found.add("gap", table, f"versions {listed(known)}", "no commit file", expected, _commit_advice(table, log.gaps[0], log))
    for version, reason in log.unreadable.items():
        advice = "remove this checkpoint and _last_checkpoint: every commit is still there" if log.versions[:1] == [0] else None
        found.add("checkpoint", table, f"version {version}", reason, "a checkpoint that can be read", advice)
    if log.pointer:
        advice = "remove _last_checkpoint: readers find the checkpoint by its name"
        found.add("checkpoint", table, "_last_checkpoint", log.pointer, "the version of a checkpoint that is there", advice)


def _commit_advice(table: str, version: int, log: Log) -> str | None:
    if version <= max(log.checkpoints, default=-1):
        return "nothing for the newest version, which a later checkpoint holds; what lies between can no longer be read"
    return None


def _read_commit(path: Path, version: int) -> Commit | str:
    """The commit, or what is wrong with it."""
    text = path.read_bytes()
    if not text.strip():
        return f"{len(text)} bytes, no actions"
    lines = text.splitlines()
    actions = []
    for number, line in enumerate(lines, 1):
        try:
            actions.append(json.loads(line))
        except ValueError:
            return f"line {number} of {len(lines)} is not JSON"
    info = next((action["commitInfo"] for action in actions if "commitInfo" in action), None)
    return "no commitInfo" if info is None else _commit(version, info)


def _commit(version: int, info: Mapping[str, Any]) -> Commit:
    said = str(info.get("engineInfo") or info.get("clientVersion") or "")
    engine = next((name for prefix, name in ENGINES.items() if said.startswith(prefix)), said or "unknown")
    step, hours = _metadata(info.get("userMetadata"))
    first, _, last = hours.partition("..")
    return Commit(version, str(info.get("operation", "")), engine, step, first or None, last or None)


def _metadata(text: object) -> tuple[str | None, str]:
    try:
        values = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return None, ""
    return (values.get("step"), str(values.get("hours", ""))) if isinstance(values, dict) else (None, "")


def _unreadable(parts: list[Path]) -> str | None:
    for path in parts:
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for _ in file.iter_batches(1024):
                    pass
        except (OSError, pa.ArrowException) as error:
            return f"{path.name}: {one_line(error)}"
    return None


def _wrong_pointer(path: Path, checkpoints: Mapping[int, list[Path]]) -> str | None:
    if not path.exists():
        return None
    try:
        version = json.loads(path.read_bytes())["version"]
    except (ValueError, KeyError, TypeError):
        return "not the JSON of a checkpoint"
    return None if version in checkpoints else f"version {version}, which has no checkpoint"


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
