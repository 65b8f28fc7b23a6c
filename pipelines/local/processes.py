"""Background processes that outlive their starter, known by pid and start time so that a recycled pid is never killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError

TERM_PATIENCE_S = 20.0
KILL_PATIENCE_S = 5.0
_LISTEN = "0A"


@dataclass(frozen=True)
class Process:
    """A process that leads a session of its own; ``started`` is its boot and the kernel's start tick."""

    pid: int
    started: str


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None where there is none, or only its zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return Process(pid, f"{boot}/{fields[19]}")


def is_alive(process: Process) -> bool:
    return identify(process.pid) == process


def start(command: Sequence[str], log: Path, environ: Mapping[str, str], folder: Path) -> Process:
    """Starts the command detached, its output appended to ``log``. Raises UserError where it ends at once."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environ), cwd=folder, start_new_session=True
        )
    process = identify(child.pid)
    if process is None:
        raise UserError(f"{command[0]} ended at once with code {child.wait()}; see {log}")
    return process


def wait_until_ready(name: str, process: Process, ready: Callable[[], bool], log: Path, patience_s: float) -> None:
    """Waits for ``ready``. Raises UserError with the log's end where the process ends, or ``patience_s`` pass, before."""
    deadline = time.monotonic() + patience_s
    while is_alive(process):
        if ready():
            return
        if time.monotonic() > deadline:
            raise UserError(f"{name} was not ready after {patience_s:.0f} s; the end of {log}:\n{log_tail(log)}")
        time.sleep(0.2)
    raise UserError(f"{name} ended while it started; the end of {log}:\n{log_tail(log)}")


def stop(process: Process, patience_s: float = TERM_PATIENCE_S) -> bool:
    """Ends the process and all that it started: TERM, then KILL after ``patience_s``. False where it was gone already."""
    if not is_alive(process):
        return False
    left = _signal_and_wait(members(process.pid), signal.SIGTERM, patience_s)
    left = _signal_and_wait({*left, *members(process.pid)}, signal.SIGKILL, KILL_PATIENCE_S)
    if left:
        raise UserError(f"processes {sorted(one.pid for one in left)} do not end, not even by KILL; end them by hand")
    return True


def members(leader: int) -> set[Process]:
    """The leader's session and its descendants, also those that made sessions of their own."""
    stats = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    parent = {pid: int(fields[1]) for pid, fields in stats.items() if fields}
    found = {pid for pid, fields in stats.items() if pid == leader or (fields and int(fields[3]) == leader)}
    while grown := {pid for pid, above in parent.items() if above in found} - found:
        found |= grown
    return {process for pid in found if (process := identify(pid)) is not None}


def listens(process: Process, port: int) -> bool:
    """Whether the process, or one that it started, has this port: of two that chose the same one, only one gets it."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    return any(sockets & _open_files(one.pid) for one in members(process.pid))


def log_tail(log: Path, lines: int = 8) -> str:
    """Last lines of a log; empty where there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - 4000))
        return "\n".join(source.read().decode("utf-8", "replace").splitlines()[-lines:])


def _listening(port: int) -> set[str]:
    """Inodes of the sockets that listen on the port."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in _text(f"/proc/net/{name}").splitlines()[1:]]
    return {fields[9] for fields in lines if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port}


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                found.add(os.readlink(entry))
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the state on: 0 state, 1 parent, 3 session, 19 start tick."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _signal_and_wait(processes: set[Process], sign: signal.Signals, patience_s: float) -> set[Process]:
    for process in filter(is_alive, processes):
        with suppress(ProcessLookupError):
            os.kill(process.pid, sign)
            os.kill(process.pid, signal.SIGCONT)  # a paused process would take no notice of a TERM
    deadline = time.monotonic() + patience_s
    left = processes
    while (left := set(filter(is_alive, left))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
