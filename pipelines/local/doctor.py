"""What this machine must have: each check says what was found and, where that is not enough, what to do."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from pipelines.errors import UserError
from pipelines.local import airflow_server, mlflow_server, ports, spark_server
from pipelines.local.code_version import ROOT
from pipelines.local.jars import jars_folder
from pipelines.local.java import java_command, java_major
from pipelines.local.service_records import read_records
from pipelines.settings import Settings

GB = 1e9
LEAST_MEMORY_GB = 7.8  # what a machine sold with 8 GB shows
LEAST_DISK_GB = 3.0
MEMORY_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class Check:
    """One thing that must be there; ``remedy`` is empty where it is."""

    name: str
    ok: bool
    found: str
    remedy: str


def checks(settings: Settings) -> list[Check]:
    """Every check, in the order in which they should be mended."""
    services = ((spark_server, settings.spark.port), (mlflow_server, settings.mlflow.port), (airflow_server, settings.airflow.port))
    machine = [check_python(), check_java(), check_memory(), check_disk(settings.home)]
    environment = [check_versions(ROOT / "requirements.lock"), check_jars()]
    return machine + environment + [check_port(settings, server.NAME, wanted, server.DEFAULT_PORT) for server, wanted in services]


def check_python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return _check("python", sys.version_info[:2] == (3, 11), found, "install Python 3.11 with its venv package and run `make setup`")


def check_java() -> Check:
    return _tried("java", lambda: f"Java {java_major(java_command())}")


def check_memory(files: Sequence[Path] = MEMORY_FILES) -> Check:
    """The machine's memory, or the container's limit where that is lower."""
    total = int(re.findall(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))[0]) * 1024
    limits = [int(text) for path in files if path.exists() and (text := path.read_text(encoding="ascii").strip()).isdigit()]
    gb = min([total, *limits]) / GB
    return _check("memory", gb >= LEAST_MEMORY_GB, f"{gb:.1f} GB", "give this machine 8 GB, or set spark.remote to a cluster")


def check_disk(home: Path) -> Check:
    """Free space where the root is, or will be."""
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    gb = shutil.disk_usage(there).free / GB
    remedy = f"free {LEAST_DISK_GB:.0f} GB, or set RECLOOP_HOME to another disk"
    return _check("disk", gb >= LEAST_DISK_GB, f"{gb:.1f} GB free at {there}", remedy)


def check_versions(lock: Path) -> Check:
    """Whether what is installed is what the lock file pins."""
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s\\;]+)", lock.read_text(encoding="utf-8"), re.MULTILINE))
    installed = {_normal(one.metadata["Name"]): one.version for one in distributions()}
    found_instead = {name: installed.get(_normal(name), "missing") for name in pinned}
    wrong = [f"{name} {found_instead[name]}, not {want}" for name, want in pinned.items() if _differs(found_instead[name], want)]
    found = f"{len(pinned)} packages as locked" if not wrong else f"{'; '.join(wrong[:3])}{' …' if len(wrong) > 3 else ''}"
    return _check("versions", not wrong, found, "run `make setup`")


def check_jars() -> Check:
    folder = jars_folder()
    there = any(folder.glob("delta-spark_*.jar"))
    return _check("jars", there, str(folder) if there else f"none in {folder}", "run `make setup` with a way to Maven Central")


def check_port(settings: Settings, name: str, wanted: int | None, default: int) -> Check:
    """A port that was set must be free or held by this root's own service."""
    record = read_records(settings).get(name)
    if record is not None and record.alive:
        return _check(f"{name} port", True, f"{record.port}, in use by this root", "")
    return _tried(f"{name} port", lambda: str(ports.choose_port(f"{name}.port", wanted, default)))


def _tried(name: str, find: Callable[[], str]) -> Check:
    """A check by a function whose UserError says ``found; remedy``."""
    try:
        return Check(name, True, find(), "")
    except UserError as error:
        found, _, remedy = str(error).partition("; ")
        return Check(name, False, found, remedy)


def _check(name: str, ok: bool, found: str, remedy: str) -> Check:
    return Check(name, ok, found, "" if ok else remedy)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _differs(found: str, want: str) -> bool:
    """Local labels such as ``+cu130`` do not count."""
    return found.partition("+")[0] != want.partition("+")[0]
