import importlib.metadata
import socket
from pathlib import Path

from pipelines.local import doctor
from pipelines.settings import load_settings


def test_this_machine_passes(tmp_path):
    failed = [check for check in doctor.checks(load_settings(tmp_path, {})) if not check.ok]
    assert failed == []


def test_a_port_that_was_set_and_is_taken_names_its_key(tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        settings = load_settings(tmp_path, {"RECLOOP__MLFLOW__PORT": str(port)})
        check = next(check for check in doctor.checks(settings) if check.name == "mlflow port")
    assert not check.ok
    assert f"mlflow.port is set to {port}" in check.found
    assert "free it" in check.remedy


def test_a_container_limit_below_eight_gigabytes_fails(tmp_path):
    limit = tmp_path / "memory.max"
    limit.write_text("2000000000\n")
    check = doctor.check_memory([limit])
    assert not check.ok
    assert check.found == "2.0 GB"
    limit.write_text("max\n")
    assert doctor.check_memory([limit]).found != "2.0 GB"


def test_other_and_missing_packages_are_named(tmp_path):
    have = importlib.metadata.version("filelock")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"filelock=={have} \\\n    --hash=sha256:00\nPyYAML==0.0.1\nno-such-package==1.0\n")
    check = doctor.check_versions(lock)
    assert not check.ok
    assert "no-such-package missing, not 1.0" in check.found
    assert f"PyYAML {importlib.metadata.version('pyyaml')}, not 0.0.1" in check.found
    assert "filelock" not in check.found


def test_a_missing_java_says_the_command_that_installs_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    check = doctor.check_java()
    assert not check.ok
    assert "apt-get install" in check.remedy


def test_another_java_is_refused(tmp_path: Path, monkeypatch):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    check = doctor.check_java()
    assert not check.ok
    assert "found Java 11" in check.found
