"""The Java that Spark runs on: 17 or 21, from JAVA_HOME or the path."""

import re
import shutil
import subprocess
from pathlib import Path

from pipelines.errors import UserError
from pipelines.settings import environment

SUPPORTED = (17, 21)
REMEDY = "install Java 17, on Debian: apt-get install -y openjdk-17-jre-headless"


def java_command() -> str:
    """Path of a Java that Spark can use. Raises UserError with the command that installs one."""
    command = _find()
    if command is None:
        raise UserError(f"found no java, Spark needs 17 or 21; {REMEDY}")
    major = java_major(command)
    if major not in SUPPORTED:
        raise UserError(f"found Java {major or 'of unknown version'} at {command}, Spark needs 17 or 21; {REMEDY}")
    return command


def java_major(command: str) -> int | None:
    """Major version that ``java -version`` prints."""
    done = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(match.group(1)) if match else None


def _find() -> str | None:
    home = environment().get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")
