import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.local import processes
from pipelines.local.processes import Process

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def run(tmp_path: Path, *command: str) -> Process:
    return processes.start(command or SLEEPER, tmp_path / "logs" / "one.log", os.environ, tmp_path)


def exists(pid: int) -> bool:
    """By the kernel's own process list; a zombie does not count."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith("Z")


def wait_for_file(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text()


def test_a_started_process_outlives_its_starter_and_is_ended_by_its_record(tmp_path):
    script = (
        "import os, pathlib, sys; from pipelines.local import processes as p\n"
        f"one = p.start({SLEEPER!r}, pathlib.Path({str(tmp_path / 'log')!r}), os.environ, pathlib.Path({str(tmp_path)!r}))\n"
        "print(one.pid, one.started)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    pid, started = done.stdout.split()
    assert exists(int(pid))
    assert processes.stop(Process(int(pid), started))
    assert not exists(int(pid))


def test_a_recycled_pid_is_left_alone(tmp_path):
    stranger = run(tmp_path)
    recorded = Process(stranger.pid, stranger.started + "0")
    assert not processes.is_alive(recorded)
    assert processes.stop(recorded) is False
    assert exists(stranger.pid)
    processes.stop(stranger)


def test_children_in_sessions_of_their_own_end_too(tmp_path):
    child = f"import subprocess, time; p = subprocess.Popen({SLEEPER!r}, start_new_session=True); "
    leader = run(tmp_path, sys.executable, "-c", child + f"open({str(tmp_path / 'child')!r}, 'w').write(str(p.pid)); time.sleep(60)")
    pid = int(wait_for_file(tmp_path / "child"))
    processes.stop(leader)
    assert not exists(leader.pid)
    assert not exists(pid)


def test_a_process_that_ignores_term_is_killed(tmp_path):
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    process = run(tmp_path, sys.executable, "-c", stubborn + f"open({str(tmp_path / 'up')!r}, 'w').write('x'); time.sleep(60)")
    wait_for_file(tmp_path / "up")
    assert processes.stop(process, patience_s=0.3)
    assert not exists(process.pid)


def test_a_paused_process_ends_by_term(tmp_path):
    process = run(tmp_path)
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert processes.stop(process, patience_s=8)
    assert time.monotonic() - began < 5


def test_a_service_that_dies_shows_the_end_of_its_log(tmp_path):
    process = run(tmp_path, sys.executable, "-c", "import time; time.sleep(0.3); raise SystemExit('the port is gone')")
    with pytest.raises(UserError, match=r"thing ended while it started.*\n.*the port is gone"):
        processes.wait_until_ready("thing", process, lambda: False, tmp_path / "logs" / "one.log", 10)


def test_patience_ends(tmp_path):
    process = run(tmp_path)
    with pytest.raises(UserError, match="thing was not ready after 0 s"):
        processes.wait_until_ready("thing", process, lambda: False, tmp_path / "logs" / "one.log", 0.1)
    processes.stop(process)


def test_log_tail_is_the_last_lines(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {i}\n" for i in range(5000)))
    assert processes.log_tail(log, 2) == "line 4998\nline 4999"
    assert processes.log_tail(tmp_path / "none") == ""
