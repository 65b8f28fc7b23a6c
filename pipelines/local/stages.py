"""Says what runs, how far it is and how long it takes: a spinner on a terminal, and one line a finished stage anywhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text

WIDE = 140  # columns of an output that is no terminal: tables stay whole in a log


def wide_console(*, stderr: bool = False) -> Console:
    """A console of the terminal's width, or WIDE where there is none."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=WIDE)


class Stage:
    """The stage at work; ``says`` shows what it does at the moment, ``ends_with`` what its line will say."""

    def __init__(self, title: str, spinner: Status) -> None:
        self.title, self.spinner, self.result, self._start = title, spinner, "", time.monotonic()

    def says(self, text: str) -> None:
        self.spinner.update(Text(f"{self.title}  {self.seconds:.0f} s  {text}"))

    def ends_with(self, text: str) -> None:
        self.result = text

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start


class Stages:
    """Stages of one command, with the time since its start."""

    def __init__(self, console: Console) -> None:
        self.console, self._start = console, time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """One stage; its line says how long it took, and where it failed."""
        with self.console.status(Text(title)) as spinner:
            stage = Stage(title, spinner)
            try:
                yield stage
            except BaseException:
                self._line(stage, "✗", "red")
                raise
        self._line(stage, "✓", "green")

    def note(self, text: str) -> None:
        self.console.print(Text(f"{'':>8}{text}"), soft_wrap=True)

    def _line(self, stage: Stage, mark: str, color: str) -> None:
        minutes, seconds = divmod(int(self.seconds), 60)
        result = f"  {stage.result}" if stage.result else ""
        line = Text.assemble(f"{minutes:>3}:{seconds:02d} ", (mark, color), f" {stage.title}  {stage.seconds:.1f} s{result}")
        self.console.print(line, soft_wrap=True)
