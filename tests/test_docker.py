"""The image against what the set-up asks for, since no container engine is at hand to build it."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]


def test_the_image_has_the_python_and_the_java_that_the_set_up_wants():
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    (python,) = re.findall(r"^FROM python:(\d+\.\d+)-", LINES[0])
    assert f">={python}," in metadata["options"]["python_requires"]
    (java,) = re.findall(r'^ +command="apt-get install -y (\S+)"', (ROOT / "pipelines/local/setup.sh").read_text(), re.M)
    assert any(java in line.split() for line in LINES)


def test_the_image_sets_up_as_a_user_without_rights_and_takes_no_state_along():
    order = [next(n for n, line in enumerate(LINES) if line.startswith(word)) for word in ("USER recloop", "COPY", "RUN make setup")]
    assert order == sorted(order)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv", ".recloop", ".git"} <= set(ignored)
    entry = next(line for line in LINES if line.startswith("ENTRYPOINT"))
    assert ".venv/bin/recloop" in entry
