"""The jars that Spark needs beside its own, resolved once beside the environment so that no job and no root needs the network.

Delta's always, at set-up; the Kafka source's at the first start of a server whose settings name a topic.
"""

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
Coordinate = tuple[str, str, str]  # group, artifact, version


def jars(java: str | None = None) -> list[Path]:
    """Delta's jars, downloaded by Ivy at the first call. Raises UserError where that fails; nothing half-made stays."""
    spark = ".".join(version("pyspark").split(".")[:2])
    return resolved(jars_folder(), ("io.delta", f"delta-spark_{spark}_{SCALA}", version("delta-spark")), java)


def kafka_jars() -> list[Path]:
    """The jars of Spark's Kafka source, in the same way."""
    spark = version("pyspark")
    return resolved(share() / f"kafka-{spark}", ("org.apache.spark", f"spark-sql-kafka-0-10_{SCALA}", spark))


def jars_folder() -> Path:
    """Where this environment keeps the jars of its delta-spark."""
    return share() / f"delta-{version('delta-spark')}"


def resolved(folder: Path, coordinate: Coordinate, java: str | None = None, beside_spark: bool = True) -> list[Path]:
    """The artifact's jar and those that it needs (``beside_spark``: and Spark does not ship); downloaded where ``folder`` is missing."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            if not folder.exists():
                _resolve(folder, coordinate, java or java_command(), beside_spark)
    return sorted(folder.glob("*.jar"))


def share() -> Path:
    return Path(sys.prefix) / "share" / "recloop"


def _resolve(folder: Path, coordinate: Coordinate, java: str, beside_spark: bool) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".resolving-") as scratch:
        found = Path(scratch) / "jars"
        _run_ivy(java, Path(scratch), found, coordinate)
        shipped = {_artifact(path) for path in (spark_home() / "jars").glob("*.jar")} if beside_spark else set()
        for path in found.glob("*.jar"):
            if _artifact(path) in shipped:
                path.unlink()
        os.replace(found, folder)


def _run_ivy(java: str, scratch: Path, found: Path, coordinate: Coordinate) -> None:
    ivy = next((spark_home() / "jars").glob("ivy-*.jar"))
    done = subprocess.run(
        [java, "-cp", str(ivy), "org.apache.ivy.Main", "-cache", str(scratch / "cache"), "-dependency", *coordinate, "-confs", "default",
         "-m2compatible", "-types", "jar", "bundle", "-retrieve", f"{found}/[artifact]-[revision].[ext]"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not list(found.glob(f"{coordinate[1]}-*.jar")):
        reason = next((line.strip() for line in done.stdout.splitlines() if "ERROR" in line or "not found" in line), "no message")
        raise UserError(f"cannot fetch the jars of {':'.join(coordinate)}: {reason}; check the way to Maven Central and run again")


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
