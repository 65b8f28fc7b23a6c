"""A hash of the code at work: written on every ledger row, and compared by the Spark server with its clients."""

import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKER_PACKAGES = ("models", "spark_jobs")


@cache
def code_version(packages: tuple[str, ...] = ("models", "pipelines", "spark_jobs")) -> str:
    """12 hex digits over the sources and packaged YAML of these packages."""
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted(p for p in (ROOT / package).rglob("*") if p.suffix in {".py", ".yaml"}):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def worker_code_version() -> str:
    """The version of what Spark's Python workers import; reused workers hold old modules."""
    return code_version(WORKER_PACKAGES)
