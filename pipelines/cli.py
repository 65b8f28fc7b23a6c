"""The ``recloop`` command. What a verb needs is imported when it runs, so that ``recloop --help`` answers at once."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands import check, data, encoder, hours, learn, look, loop, releases
from pipelines.errors import UserError

EPILOG = (
    "Hours are UTC, written YYYY-MM-DDTHH. All state lies under one folder: --home, else $RECLOOP_HOME, else .recloop here.\n\n"
    "Examples:  recloop demo  |  recloop top u1-0 -k 5  |  recloop hour 2026-11-10T08  |  "
    "recloop --home /srv/loop status --json"
)

app = typer.Typer(
    name="recloop", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, epilog=EPILOG,
    help="A recommender that learns from its own feedback, every hour.", context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
for verbs in (loop, hours, learn, encoder, releases, look, check, data):
    app.add_typer(verbs.app)


def main() -> None:
    """Entry point: an error that the user can act on is one line on stderr and exit code 1."""
    try:
        app(prog_name="recloop")
    except UserError as error:
        print(f"recloop: {error}", file=sys.stderr)
        sys.exit(1)


def run() -> None:
    """``main`` as a process: ends at once with its exit code.

    Threads of Arrow and delta-rs that are still there when the interpreter is torn down abort it now and then, with a line of
    their own and exit code 134 after all work was done.
    """
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@app.callback()
def _root(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Folder of all state, in place of $RECLOOP_HOME.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also print what each step logs.")] = False,
) -> None:
    import logging
    import warnings

    import structlog

    if not verbose:
        warnings.simplefilter("ignore")
    level = logging.INFO if verbose else logging.WARNING
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level), logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    context.obj = home


if __name__ == "__main__":
    main()
