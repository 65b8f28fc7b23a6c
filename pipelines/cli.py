"""The ``recloop`` command. What a verb needs is imported when it runs, so that ``recloop --help`` answers at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pipelines.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.settings import Settings

LOOP, HOURS, LOOK, DATA = "The whole loop", "Hour by hour, without Airflow", "Look at it", "Data in and out"
EPILOG = (
    "Hours are UTC, written YYYY-MM-DDTHH. All state lies under one folder: --home, else $RECLOOP_HOME, else .recloop here.\n\n"
    "Examples:  recloop demo  |  recloop top u1-0 -k 5  |  recloop hour 2026-11-10T08  |  "
    "recloop --home /srv/loop status --json"
)

app = typer.Typer(
    name="recloop", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, epilog=EPILOG,
    help="A recommender that learns from its own feedback, every hour.", context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


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


def _settings(context: typer.Context) -> "Settings":
    from pipelines.settings import load_settings

    return load_settings(context.obj)


def _console() -> "Console":
    from pipelines.local.stages import wide_console

    return wide_console()


HourArgument = Annotated[str, typer.Argument(metavar="HOUR", help="UTC hour, for example 2026-11-23T20.")]


@app.command(rich_help_panel=LOOP)
def demo(
    context: typer.Context,
    hours: Annotated[int, typer.Option(min=1, help="Live hours to run through the Airflow scheduler.")] = 6,
) -> None:
    """Set up a demo and run the loop: data, services, first release, logged hours, live hours, summary. Run again: it goes on."""
    from pipelines.local.demo import run_demo

    run_demo(_settings(context), _console(), hours)


@app.command(rich_help_panel=LOOP)
def up(context: typer.Context) -> None:
    """Start Spark, MLflow and Airflow for this root, on loopback."""
    from pipelines.local.services import up as start

    settings = _settings(context)
    start(settings)
    _print_services(settings)


@app.command(rich_help_panel=LOOP)
def down(context: typer.Context) -> None:
    """Stop the services that this root started, and no others."""
    from pipelines.local.services import down as stop

    stop(_settings(context))


@app.command(rich_help_panel=HOURS)
def hour(context: typer.Context, hour: HourArgument) -> None:
    """Run all steps of one loop hour in this process."""
    from pipelines.clock import check_hour

    settings = _settings(context)
    check_hour(settings, hour)
    _run_hours(settings, [hour])


@app.command(rich_help_panel=HOURS)
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

    settings = _settings(context)
    hours = hour_range(first, last)
    if not hours:
        raise UserError(f"--from {first} lies after --to {last}; give the earlier hour first")
    for end in (first, last):
        check_hour(settings, end)
    if tables_only:
        with Stages(_console()).stage(f"tables of {len(hours):,} hours, {first} to {last}") as stage:
            bring_in = partial(build_features.run, settings, last, len(hours))
            stage.ends_with(explained(settings, f"tables up to {last}", bring_in).detail)
        return
    _run_hours(settings, hours)


@app.command(rich_help_panel=HOURS)
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

    settings = _settings(context)
    hours = again.hours_to_rebuild(settings, first, last)
    span = f"{len(hours)} hours, {hours[0]} to {hours[-1]}"
    if dry_run:
        print(f"would make again: {span}")
        for part in again.plan(settings, hours):
            print(part)
        return
    with Stages(_console()).stage(f"rebuild {span}") as stage:
        stage.ends_with(explained(settings, f"rebuild of {span}", partial(again.run, settings, hours)).detail)


@app.command(rich_help_panel=HOURS)
def maintain(
    context: typer.Context, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False
) -> None:
    """Drop what is past retention, compact small files, and remove files and log entries that nobody can read any more."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.stages import Stages
    from pipelines.steps import maintain_tables

    settings = _settings(context)
    if dry_run:
        for part in maintain_tables.plan(settings):
            what = f"{part.dropped} older than {part.drop_before}, {part.compacted} of many small files" if part.any else "nothing"
            print(f"{part.table}: {what}")
        print(f"readable since {maintain_tables.oldest_readable(settings)}")
        return
    with Stages(_console()).stage("maintain") as stage:
        stage.ends_with(explained(settings, "maintenance", partial(maintain_tables.run, settings)).detail)


@app.command(rich_help_panel=HOURS)
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

    settings = _settings(context)
    if kind is None:
        for name in ("promotions", "freeze", "poison"):
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


@app.command(rich_help_panel=LOOK)
def impact(
    context: typer.Context,
    hour: HourArgument,
    poison: Annotated[str | None, typer.Option(metavar="REASON", help="Mark the hour: no model learns from it or is judged by it.")] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Take the mark away.")] = False,
) -> None:
    """Say which models, slates and releases used an hour; with --poison, keep it out of training, replay and gates from now on."""
    from pipelines.lake import holds
    from pipelines.registry.impact import impact as used

    settings = _settings(context)
    found = used(settings, hour)
    if poison is not None:
        holds.hold(settings, "poison", hour, poison)
    if lift:
        holds.lift(settings, "poison", hour)
    print(f"hour {hour}: {found.records} records")
    for name, users in (("fine-tunings", found.learned), ("policy refreshes", found.judged), ("scorings", found.slates)):
        print(f"{name}: {', '.join(users) or 'none'}")
    print(f"releases: {'; '.join(found.releases) or 'none'}")
    why = poison if poison is not None else (None if lift else found.poisoned)
    print(f"poisoned: {why}" if why else "not poisoned")


def _run_hours(settings: "Settings", hours: list[str]) -> None:
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.services import ensure_mlflow
    from pipelines.local.stages import Stages
    from pipelines.steps.hour import run_hour

    stages = Stages(_console())
    try:
        ensure_mlflow(settings)
    except UserError as error:  # scoring needs no MLflow: the hour goes on as far as it can
        stages.note(str(error))
    for hour in hours:
        with stages.stage(f"hour {hour}"):
            outcomes = explained(settings, f"hour {hour}", partial(run_hour, settings, hour))
        for outcome in outcomes:
            stages.note(f"{outcome.step} {outcome.status}  {outcome.detail}")


@app.command(rich_help_panel=HOURS)
def simulate(context: typer.Context, hour: HourArgument) -> None:
    """Let the demo's users see the scores as they stand and write what they do as landing files of HOUR."""
    from pipelines.clock import check_hour
    from pipelines.local.simulated_users import simulate as play

    settings = _settings(context)
    check_hour(settings, hour)
    played = play(settings, [hour]).hours[0]
    counts = f"{played.users} users, {played.impressions} impressions, {played.feedback} reactions, {played.new_items} new items"
    print(f"hour {hour} was played before; nothing changed" if played.already else f"hour {hour}: {counts}")


@app.command(rich_help_panel=LOOK)
def status(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False
) -> None:
    """Show the newest hours, the release in force, the scores, the last decision, the services, and what live hours were worth."""
    from pipelines.local.status import read_status

    settings = _settings(context)
    found = read_status(settings)
    if as_json:
        _print_json(found)
        return
    from pipelines.local.screen import print_status, print_summary
    from pipelines.local.summary import read_summary

    console = _console()
    print_status(console, found)
    print_summary(console, read_summary(settings))


@app.command(rich_help_panel=LOOK)
def top(
    context: typer.Context,
    user: Annotated[str | None, typer.Argument(metavar="USER", help="User id; __default__ is the slate for whom nobody knows.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Rows to show.")] = 10,
) -> None:
    """Show a user's recommendations with titles, and why each is there. Without USER: some users who have any."""
    from pipelines.local.recommend import recommend, some_users

    settings = _settings(context)
    if user is None:
        print("\n".join(some_users(settings)))
        return
    from pipelines.local.screen import print_recommendations

    print_recommendations(_console(), user, recommend(settings, user, k))


@app.command(rich_help_panel=LOOK)
def evaluate(
    context: typer.Context,
    candidates: Annotated[Path | None, typer.Option(
        help="CSV, JSON Lines or Parquet: impression_id, user, item, ts, label. Without it: the slates that the log says were shown.",
    )] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV or Parquet: impression_id, item, score, prob.")] = Path("scored.csv"),
    figures: Annotated[Path | None, typer.Option(help="JSON file for all figures, gains and slices.")] = None,
) -> None:
    """Score candidate sets test-then-train, and say what hourly learning gains over daily and frozen."""
    from functools import partial

    from pipelines.evaluation.evaluate import evaluate as walk_and_score
    from pipelines.local.evaluation_screen import print_hour, print_scored
    from pipelines.local.in_process import explained

    console = _console()
    scored = explained(
        _settings(context), "evaluate",
        partial(walk_and_score, _settings(context), candidates, output, figures, partial(print_hour, console)),
    )  # fmt: skip
    print_scored(console, scored)
    print(f"written: {output}{f' and {figures}' if figures else ''}")


@app.command(rich_help_panel=LOOK)
def report(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("recloop-report.html"),
) -> None:
    """Write a one-page report of releases, gates and learning curves."""
    from pipelines.registry.report import write_report

    write_report(_settings(context), output)
    print(f"written: {output}")


@app.command(rich_help_panel=LOOK)
def doctor(context: typer.Context) -> None:
    """Check Java, memory, ports, versions and jars; each missing thing with its remedy."""
    from pipelines.local.doctor import checks

    found = checks(_settings(context))
    for check in found:
        remedy = "" if check.ok else f"; {check.remedy}"
        print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}{remedy}")
    if failed := [check.name for check in found if not check.ok]:
        raise UserError(f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}")


@app.command(rich_help_panel=LOOK)
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
    settings = _settings(context)
    result = check(settings, table)
    if repair and result.findings:
        _repair(settings, sorted({finding.table for finding in result.findings}), dry_run)
        result = result if dry_run else check(settings, table)
    if as_json:
        _print_json(result)
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
    with Stages(_console()).stage(f"make again {', '.join(mended)}") as stage:
        stage.ends_with(explained(settings, "repair", partial(again.repair, settings, mended)).detail)


@app.command(rich_help_panel=DATA)
def init(
    context: typer.Context,
    domain: Annotated[Literal["ecommerce", "video", "social"], typer.Option(help="What a reaction is worth, and what users see again.")],
) -> None:
    """Begin a root for your own data: settings with every default in sight, landing folders, a sample line of each kind."""
    from pipelines.local.init_root import SAMPLE, init_root

    path = init_root(_settings(context), domain)
    print(f"written: {path} and landing/{{impressions,feedback,items}}/{SAMPLE}")
    print("next: land your files beside the samples, or `recloop import` a log; set lake.start_hour; then `recloop up`")


@app.command(name="demo-data", rich_help_panel=DATA)
def demo_data(
    context: typer.Context,
    kind: Annotated[Literal["movielens", "made-up"], typer.Argument(help="Whose titles and rating histories.")] = "movielens",
    speed: Annotated[Literal["slow", "medium", "fast"], typer.Option(help="How fast tastes drift.")] = "medium",
) -> None:
    """Write a demo's catalogue and rating histories as landing files, once a root."""
    from pipelines.local.demo_data import write_demo_data

    written = write_demo_data(_settings(context), kind, speed)
    note = f" ({written.note})" if written.note else ""
    counts = f"{written.users} users, {written.items} items, {written.ratings} ratings"
    print(f"{written.source}{note}: {counts}; loop hours from {written.start_hour}")


@app.command(name="import", rich_help_panel=DATA)
def import_files(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILES...", help="CSV, JSON Lines or Parquet, or patterns such as 'log/*.csv'.")],
    mapping: Annotated[Path, typer.Option("--mapping", "-m", help="YAML: which column is which field (docs/bring-your-own-log.md).")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written and refused; write nothing.")] = False,
) -> None:
    """Turn your own log into landing files; the same files with the same mapping change nothing."""
    from pipelines.importers.advice import advice
    from pipelines.importers.import_log import import_log
    from pipelines.importers.screen import print_advice, print_dry_run, print_import

    settings, console = _settings(context), _console()
    with console.status("reading"):
        report = import_log(settings, files, mapping, dry_run)
    (print_dry_run if dry_run else print_import)(console, report)
    print_advice(console, advice(settings, report))


@app.command(rich_help_panel=DATA)
def quarantine(
    context: typer.Context,
    hour: Annotated[str | None, typer.Option(metavar="HOUR", help="Only what this hour refused.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only what was refused for this reason.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Land these records again, for the next hour to take.")] = False,
) -> None:
    """Show what was refused and why, with a sample of each; or land it again after the cause was mended."""
    from pipelines.hours import parse_hour
    from pipelines.lake import quarantine as held

    settings = _settings(context)
    if hour is not None:
        parse_hour(hour)
    if replay:
        for name, count in held.replay(settings, hour, reason).items():
            print(f"{count} records stand in landing/{name}; the next hour takes them, and refuses again what is still wrong")
        return
    found = held.refused(settings, hour, reason)
    for part in found:
        print(f"{part.hour}  {part.reason}: {part.count} records, {part.meaning}\n  {part.source_file}:{part.line}  {part.sample}")
    print(f"{sum(part.count for part in found)} records refused")


@app.command(rich_help_panel=DATA)
def export(
    context: typer.Context,
    table: Annotated[Literal["scores"], typer.Argument(help="What to export.")],
    kind: Annotated[Literal["parquet", "csv", "jsonl"], typer.Option("--format", "-f", help="File format.")] = "parquet",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default <table>.<format> here.")] = None,
) -> None:
    """Write the scored table as one file."""
    from pipelines.lake.export import export_scores

    path = output or Path(f"{table}.{kind}")
    print(f"{export_scores(_settings(context), kind, path)} rows written: {path}")


def _print_services(settings: "Settings") -> None:
    from pipelines.local.services import running

    for service in running(settings):
        print(f"{service.name}: {'running' if service.alive else 'not running'}  {service.url}")


def _print_json(value: Any) -> None:
    import json
    from dataclasses import asdict

    print(json.dumps(asdict(value), indent=2, default=str))


if __name__ == "__main__":
    main()
