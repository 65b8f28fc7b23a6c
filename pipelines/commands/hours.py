"""Hours without Airflow, by hand: run, fill, make again, hold."""

from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from pipelines.commands.shared import HourArgument, new_console, settings_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.settings import Settings

PANEL = "Hour by hour, without Airflow"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def hour(context: typer.Context, hour: HourArgument) -> None:
    """Run all steps of one loop hour in this process."""
    from pipelines.clock import check_hour

    settings = settings_of(context)
    check_hour(settings, hour)
    _run_hours(settings, [hour])


@app.command(rich_help_panel=PANEL)
def backfill(
    context: typer.Context,
    first: Annotated[str, typer.Option("--from", metavar="HOUR", help="First hour.")],
    last: Annotated[str, typer.Option("--to", metavar="HOUR", help="Last hour, included.")],
    tables_only: Annotated[bool, typer.Option("--tables-only", help="Only tables, in few passes: no model, no slates.")] = False,
) -> None:
    """Run all steps of each hour from --from to --to, in order; finished hours stay as they are."""
    from functools import partial

    from pipelines.clock import check_hour
    from pipelines.hours import hour_range
    from pipelines.local.in_process import explained
    from pipelines.local.stages import Stages
    from pipelines.steps import build_features

    settings = settings_of(context)
    hours = hour_range(first, last)
    if not hours:
        raise UserError(f"--from {first} lies after --to {last}; give the earlier hour first")
    for end in (first, last):
        check_hour(settings, end)
    if tables_only:
        with Stages(new_console()).stage(f"tables of {len(hours):,} hours, {first} to {last}") as stage:
            bring_in = partial(build_features.run, settings, last, len(hours))
            stage.ends_with(explained(settings, f"tables up to {last}", bring_in).detail)
        return
    _run_hours(settings, hours)


@app.command(rich_help_panel=PANEL)
def rebuild(
    context: typer.Context,
    first: Annotated[str, typer.Option("--from", metavar="HOUR", help="First hour.")],
    last: Annotated[str | None, typer.Option("--to", metavar="HOUR", help="Last hour, included; default the newest.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which hours, rows and versions would change.")] = False,
) -> None:
    """Make derived tables again from impressions, feedback and items. No slate is drawn, no release moves, no model learns."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.stages import Stages
    from pipelines.steps import rebuild as again

    settings = settings_of(context)
    hours = again.hours_to_rebuild(settings, first, last)
    span = f"{len(hours)} hours, {hours[0]} to {hours[-1]}"
    if dry_run:
        print(f"would make again: {span}")
        for part in again.plan(settings, hours):
            print(part)
        return
    with Stages(new_console()).stage(f"rebuild {span}") as stage:
        stage.ends_with(explained(settings, f"rebuild of {span}", partial(again.run, settings, hours)).detail)


@app.command(rich_help_panel=PANEL)
def maintain(
    context: typer.Context, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False
) -> None:
    """Drop what is past retention, compact small files, and remove files and log entries that nobody can read any more."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.stages import Stages
    from pipelines.steps import maintain_tables

    settings = settings_of(context)
    if dry_run:
        for part in maintain_tables.plan(settings):
            what = f"{part.dropped} older than {part.drop_before}, {part.compacted} of many small files" if part.any else "nothing"
            print(f"{part.table}: {what}")
        print(f"readable since {maintain_tables.oldest_readable(settings)}")
        return
    with Stages(new_console()).stage("maintain") as stage:
        stage.ends_with(explained(settings, "maintenance", partial(maintain_tables.run, settings)).detail)


@app.command(rich_help_panel=PANEL)
def hold(
    context: typer.Context,
    kind: Annotated[Literal["promotions", "freeze"] | None, typer.Argument(help="What to hold; without it, all that is held.")] = None,
    hour: Annotated[str | None, typer.Argument(metavar="[HOUR]", help="The hour that no step may write (freeze).")] = None,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the hold stops something.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="End the hold.")] = False,
) -> None:
    """Hold promotions (every decision abstains) or freeze an hour (no step writes it); all DAGs honour it."""
    from pipelines.clock import wall_clock
    from pipelines.hours import hour_of, parse_hour
    from pipelines.lake import holds

    settings = settings_of(context)
    if kind is None:
        for name in get_args(holds.Kind):
            for since, why in holds.holds(settings, name).items():
                print(f"{name} {since}: {why}")
        return
    if kind == "freeze" and hour is None:
        raise UserError("freeze needs an HOUR, for example `recloop hold freeze 2026-11-23T20 --reason ...`")
    named = hour or hour_of(wall_clock())
    parse_hour(named)
    if lift:
        holds.lift(settings, kind, named)
    else:
        holds.hold(settings, kind, named, reason)
    print(f"{kind}{f' {hour}' if hour else ''}: {'lifted' if lift else 'held'}")


def _run_hours(settings: "Settings", hours: list[str]) -> None:
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.services import ensure_mlflow
    from pipelines.local.stages import Stages
    from pipelines.steps.hour import run_hour

    stages = Stages(new_console())
    try:
        ensure_mlflow(settings)
    except UserError as error:  # scoring needs no MLflow: the hour goes on as far as it can
        stages.note(str(error))
    for hour in hours:
        with stages.stage(f"hour {hour}"):
            outcomes = explained(settings, f"hour {hour}", partial(run_hour, settings, hour))
        for outcome in outcomes:
            stages.note(f"{outcome.step} {outcome.status}  {outcome.detail}")


@app.command(rich_help_panel=PANEL)
def simulate(context: typer.Context, hour: HourArgument) -> None:
    """Let the demo's users see the scores as they stand and write what they do as landing files of HOUR."""
    from pipelines.clock import check_hour
    from pipelines.local.simulated_users import simulate as play

    settings = settings_of(context)
    check_hour(settings, hour)
    played = play(settings, [hour]).hours[0]
    counts = f"{played.users} users, {played.impressions} impressions, {played.feedback} reactions, {played.new_items} new items"
    print(f"hour {hour} was played before; nothing changed" if played.already else f"hour {hour}: {counts}")
