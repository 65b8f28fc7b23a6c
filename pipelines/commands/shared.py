"""What the verbs share."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.settings import Settings

HourArgument = Annotated[str, typer.Argument(metavar="HOUR", help="UTC hour, for example 2026-11-23T20.")]


def settings_of(context: typer.Context) -> "Settings":
    """The settings of the root that ``--home`` or the environment names."""
    from pipelines.settings import load_settings

    return load_settings(context.obj)


def new_console() -> "Console":
    from pipelines.local.stages import wide_console

    return wide_console()


def print_json(value: Any) -> None:
    """A dataclass, for scripts."""
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(value), indent=2, default=str))
