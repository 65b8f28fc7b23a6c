"""The jars that Spark needs for Delta, resolved once beside the environment so that no job and no root needs the network."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from pipelines.errors import UserError
from pipelines.local.java import java_command

SCALA = "2.13"


def jars(java: str | None = None) -> list[Path]:
    """The jars, downloaded by Ivy at the first call. Raises UserError where that fails; nothing half-made stays."""
    folder = jars_folder()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.exists():
                _resolve(folder, java or java_command())
    return sorted(folder.glob("*.jar"))


def jars_folder() -> Path:
    """Where this environment keeps the jars of its delta-spark."""
    return Path(sys.prefix) / "share" / "recloop" / f"delta-{version('delta-spark')}"


def _resolve(folder: Path, java: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".resolving-") as scratch:
        found = Path(scratch) / "jars"
        _run_ivy(java, Path(scratch), found)
        shipped = {_artifact(path) for path in (spark_home() / "jars").glob("*.jar")}
        for path in found.glob("*.jar"):
            if _artifact(path) in shipped:
                path.unlink()
        os.replace(found, folder)


def _run_ivy(java: str, scratch: Path, found: Path) -> None:
    coordinate = ("io.delta", f"delta-spark_{'.'.join(version('pyspark').split('.')[:2])}_{SCALA}", version("delta-spark"))
    ivy = next((spark_home() / "jars").glob("ivy-*.jar"))
    done = subprocess.run(
        [java, "-cp", str(ivy), "org.apache.ivy.Main", "-cache", str(scratch / "cache"), "-dependency", *coordinate, "-confs", "default",
         "-m2compatible", "-types", "jar", "bundle", "-retrieve", f"{found}/[artifact]-[revision].[ext]"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not list(found.glob(f"{coordinate[1]}-*.jar")):
        reason = next((line.strip() for line in done.stdout.splitlines() if "ERROR" in line or "not found" in line), "no message")
        raise UserError(f"cannot fetch the Delta jars {':'.join(coordinate)}: {reason}; check the way to Maven Central and run again")


def spark_home() -> Path:
    """Folder of this environment's own Spark, whatever SPARK_HOME says."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise UserError("pyspark is not installed in this environment; run `make setup`")
    return Path(spec.origin).parent


def _artifact(path: Path) -> str:
    """File name without its version: ``delta-storage`` of ``delta-storage-4.4.0.jar``."""
    return path.stem.rpartition("-")[0] or path.stem


def main() -> None:
    """What the set-up calls: fetches the jars, or ends with one line."""
    try:
        print(f"{len(jars())} jars in {jars_folder()}")
    except UserError as error:
        sys.exit(f"setup: {error}")


if __name__ == "__main__":
    main()
