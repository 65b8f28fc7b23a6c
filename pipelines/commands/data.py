"""Data in and out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands.shared import new_console, settings_of

PANEL = "Data in and out"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def init(
    context: typer.Context,
    domain: Annotated[Literal["ecommerce", "video", "social"], typer.Option(help="What a reaction is worth, and what users see again.")],
) -> None:
    """Begin a root for your own data: settings with every default in sight, landing folders, a sample line of each kind."""
    from pipelines.local.init_root import SAMPLE, init_root

    path = init_root(settings_of(context), domain)
    print(f"written: {path} and landing/{{impressions,feedback,items}}/{SAMPLE}")
    print("next: land your files beside the samples, or `recloop import` a log; set lake.start_hour; then `recloop up`")


@app.command(name="demo-data", rich_help_panel=PANEL)
def demo_data(
    context: typer.Context,
    kind: Annotated[Literal["movielens", "made-up", "open-bandit"], typer.Argument(
        help="Whose titles and rating histories; open-bandit: a log of decisions for `recloop ope`, in the folder at hand.",
    )] = "movielens",
    speed: Annotated[Literal["slow", "medium", "fast"], typer.Option(help="How fast tastes drift.")] = "medium",
) -> None:
    """Write a demo's catalogue and rating histories as landing files, once a root; or a log of decisions."""
    if kind == "open-bandit":
        from pipelines.local.open_bandit import write_open_bandit

        log = write_open_bandit(Path(), settings_of(context).home / "cache")
        print(f"written: {log.path}, {log.rows:,} decisions of Thompson sampling in a fashion shop; try `recloop ope {log.path}`")
        print(f"what it judges, random, was shown beside it: {log.shown:,} decisions earned {log.earned:.5f} each")
        return
    from pipelines.local.demo_data import write_demo_data

    written = write_demo_data(settings_of(context), kind, speed)
    note = f" ({written.note})" if written.note else ""
    counts = f"{written.users} users, {written.items} items, {written.ratings} ratings"
    print(f"{written.source}{note}: {counts}; loop hours from {written.start_hour}")


@app.command(name="import", rich_help_panel=PANEL)
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

    settings, console = settings_of(context), new_console()
    with console.status("reading"):
        report = import_log(settings, files, mapping, dry_run)
    (print_dry_run if dry_run else print_import)(console, report)
    print_advice(console, advice(settings, report))


@app.command(rich_help_panel=PANEL)
def quarantine(
    context: typer.Context,
    hour: Annotated[str | None, typer.Option(metavar="HOUR", help="Only what this hour refused.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only what was refused for this reason.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Land these records again, for the next hour to take.")] = False,
) -> None:
    """Show what was refused and why, with a sample of each; or land it again after the cause was mended."""
    from pipelines.hours import parse_hour
    from pipelines.lake import quarantine as held

    settings = settings_of(context)
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


@app.command(rich_help_panel=PANEL)
def export(
    context: typer.Context,
    table: Annotated[Literal["scores", "decisions"], typer.Argument(
        help="What to export; decisions: what was drawn, seen and earned, the log of `recloop ope`.",
    )],
    kind: Annotated[Literal["parquet", "csv", "jsonl"], typer.Option("--format", "-f", help="File format.")] = "parquet",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default <table>.<format> here.")] = None,
    hours: Annotated[int, typer.Option(min=1, help="Of decisions: the newest hours.")] = 168,
) -> None:
    """Write the scored table, or the decisions behind it, as one file."""
    from pipelines.lake.export import current_scores, write_rows
    from pipelines.local.decisions import shown_decisions

    settings, path = settings_of(context), output or Path(f"{table}.{kind}")
    rows = current_scores(settings) if table == "scores" else shown_decisions(settings, hours)
    write_rows(rows, kind, path)
    print(f"{len(rows)} rows written: {path}")
