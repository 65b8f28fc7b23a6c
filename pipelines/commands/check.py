"""Whether anything is damaged, and its repair; whether the loop holds its objectives."""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.shared import new_console, print_json, settings_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.settings import Settings

PANEL = "Look at it"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def verify(
    context: typer.Context,
    table: Annotated[str | None, typer.Option(help="Check this table alone, without what ties it to others.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged derived tables again from the sources, then check again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: only say what hours, rows and versions would change.")] = False,
) -> None:
    """Read every commit, file and row, and name what is damaged, whether it can be recomputed, and what to do. Exit code 1: found."""
    from pipelines.local.verification import lines, summary
    from pipelines.local.verification import verify as check

    if dry_run and not repair:
        raise UserError("--dry-run goes with --repair; verify alone changes nothing")
    settings = settings_of(context)
    result = check(settings, table)
    if repair and result.findings:
        with redirect_stdout(sys.stderr if as_json else sys.stdout):  # standard output is the JSON alone
            _repair(settings, sorted({finding.table for finding in result.findings}), dry_run)
        result = result if dry_run else check(settings, table)
    if as_json:
        print_json(result)
    else:
        for finding in result.findings:
            print("\n".join(lines(finding)))
        for note in result.notes:
            print(f"note  {note.table}: {note.text}")
        for what in result.not_checked:
            print(f"not checked  {what}")
        print(summary(result))
    if result.findings:
        raise typer.Exit(1)


@app.command("check-objectives", rich_help_panel=PANEL)
def check_objectives(context: typer.Context) -> None:
    """Compare tables' ages and the newest hour's figures with the objectives; a line for each broken one. Exit code 1: there is one."""
    from pipelines.registry.objectives_now import check_objectives as check

    settings = settings_of(context)
    try:
        print(check(settings))
    except UserError as error:  # of lines, for a mail by cron: the error of a command is one line
        print(error)
        raise typer.Exit(1) from None


def _repair(settings: "Settings", damaged: list[str], dry_run: bool) -> None:
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.stages import Stages
    from pipelines.steps import rebuild as again

    mended = again.repairable(damaged)
    if not mended:
        raise UserError(f"nothing here can be made again now: {', '.join(damaged)}; `recloop verify` says what to do, sources first")
    if dry_run:
        hours = again.hours_to_repair(settings)
        print(f"would set aside and make again: {len(hours)} hours, {hours[0]} to {hours[-1]}")
        for part in again.plan_repair(settings, mended):
            print(part)
        return
    with Stages(new_console()).stage(f"make again {', '.join(mended)}") as stage:
        stage.ends_with(explained(settings, "repair", partial(again.repair, settings, mended)).detail)
