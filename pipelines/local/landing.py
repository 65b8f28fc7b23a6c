"""Landing files as a producer writes them: JSON Lines, gzipped to the same bytes each time, complete or not there."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pipelines.errors import UserError

Record = dict[str, Any]


def pack(records: Iterable[Record]) -> bytes:
    """One JSON object a line, gzipped without a time stamp: equal records give equal bytes."""
    text = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    return gzip.compress(text.encode(), compresslevel=1, mtime=0)


def unpack(path: Path) -> list[Record]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def write_file(path: Path, content: bytes) -> None:
    """Replaces the file in one rename, after its bytes are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    try:
        with open(unfinished, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except OSError:  # a full disk must get its bytes back
        unfinished.unlink(missing_ok=True)
        raise


def write_once(path: Path, content: bytes) -> None:
    """Writes the file unless it is there with these bytes. Raises UserError where it is there with others."""
    if not path.exists():
        write_file(path, content)
    elif path.read_bytes() != content:
        raise UserError(f"{path} is there with other content, and a landing file never changes; remove it if no hour has read it")


def event_id(*natural_key: object) -> str:
    """32 hex digits of SHA-256 over the parts that make the event what it is."""
    return hashlib.sha256("\x1f".join(map(str, natural_key)).encode()).hexdigest()[:32]


def iso(seconds: ArrayLike) -> list[str]:
    """Seconds since the epoch as ISO 8601 in UTC, to the millisecond."""
    moments = (np.asarray(seconds, dtype=np.float64) * 1000).round().astype("int64").astype("datetime64[ms]")
    return [f"{moment}+00:00" for moment in np.datetime_as_string(moments)]
