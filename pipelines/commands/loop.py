"""The whole loop: the demo and its services."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.shared import new_console, settings_of

if TYPE_CHECKING:
    from pipelines.settings import Settings

PANEL = "The whole loop"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def demo(
    context: typer.Context,
    hours: Annotated[int, typer.Option(min=1, help="Live hours to run through the Airflow scheduler.")] = 6,
) -> None:
    """Set up a demo and run the loop: data, services, first release, logged hours, live hours, summary. Run again: it goes on."""
    from pipelines.local.demo import run_demo

    run_demo(settings_of(context), new_console(), hours)


@app.command(rich_help_panel=PANEL)
def up(context: typer.Context) -> None:
    """Start Spark, MLflow and Airflow for this root, on loopback."""
    from pipelines.local.services import up as start

    settings = settings_of(context)
    start(settings)
    _print_services(settings)


@app.command(rich_help_panel=PANEL)
def down(context: typer.Context) -> None:
    """Stop the services that this root started, and no others."""
    from pipelines.local.services import down as stop

    stop(settings_of(context))


def _print_services(settings: "Settings") -> None:
    from pipelines.local.services import running

    for service in running(settings):
        print(f"{service.name}: {'running' if service.alive else 'not running'}  {service.url}")
