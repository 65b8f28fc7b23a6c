"""Landing files that appear together once all of them are written, or not at all."""

import gzip
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

KINDS = ("items", "impressions", "feedback")  # in this order they appear: an hour that takes reactions finds their impressions
PART_RECORDS = 200_000  # a later hour reads a file again as long as it holds later records


class LandingParts:
    """Writes lines into parts under unfinished names; ``publish`` renames them, any other end removes them."""

    def __init__(self, landing: Path) -> None:
        self._landing = landing
        self._open: dict[tuple[str, str], _Part] = {}
        self._unfinished: list[Path] = []
        self._counts: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for part in self._open.values():
            with suppress(OSError):  # a full disk must not keep what is unfinished
                part.close()
        for path in self._unfinished:
            path.unlink(missing_ok=True)

    def write(self, kind: str, name: str, line: bytes) -> None:
        """Adds a line (with its end) to the file ``<kind>/<name>-<part>.jsonl.gz``."""
        written = self._counts.get((kind, name), 0)
        if written % PART_RECORDS == 0:
            self._begin(kind, name, written // PART_RECORDS)
        self._open[kind, name].write(line)
        self._counts[kind, name] = written + 1

    def close(self, name: str) -> None:
        """The input file of this name has ended: its parts are on disk, still unfinished."""
        for key in [key for key in self._open if key[1] == name]:
            self._open.pop(key).close()

    def publish(self) -> tuple[list[Path], list[Path]]:
        """Final paths that are new, and those that were there before and stay as they are."""
        new, old = [], []
        for unfinished in sorted(self._unfinished, key=lambda path: (KINDS.index(path.parent.name), path.name)):
            final = unfinished.with_name(unfinished.name.removesuffix(".tmp"))
            if final.exists():
                old.append(final)
            else:
                os.replace(unfinished, final)
                new.append(final)
        return new, old

    def _begin(self, kind: str, name: str, part: int) -> None:
        if (kind, name) in self._open:
            self._open.pop((kind, name)).close()
        path = self._landing / kind / f"{name}-{part:04}.jsonl.gz.tmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished.append(path)
        self._open[kind, name] = _Part(path)


class _Part:
    """One gzip file without a time stamp: equal lines give equal bytes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._zip = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=self._file, mtime=0)

    def write(self, line: bytes) -> None:
        self._zip.write(line)

    def close(self) -> None:
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
