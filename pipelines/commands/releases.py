"""Releases: what was in production when, and the moves that a person makes."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.shared import new_console, print_json, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.registry.releases import ReleaseRow
    from pipelines.settings import Settings

PANEL = "Releases"
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the row.")]
NameArgument = Annotated[str, typer.Argument(metavar="RELEASE", help="Its id, r000012, or the number of its ranker's version.")]

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def releases(
    context: typer.Context,
    at: Annotated[str | None, typer.Option(metavar="HOUR", help="Only what was in production, and in staging, for this hour.")] = None,
    last: Annotated[int, typer.Option("-n", min=1, help="How many, the newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every gate.")] = False,
) -> None:
    """List decisions and moves: what was in production from when on, who or what moved it, and why."""
    from pipelines.local.release_history import in_force_at, newest_rows

    settings = settings_of(context)
    rows = in_force_at(settings, at) if at else newest_rows(settings, last)
    if as_json:
        for row in rows:
            print_json(row)
        return
    from pipelines.local.screen import print_releases

    print_releases(new_console(), rows)


@app.command(rich_help_panel=PANEL)
def stage(
    context: typer.Context,
    source: Annotated[
        Literal["retrain", "same", "encoder"],
        typer.Argument(
            help="The last full retrain; production's own weights with another seed, which staging must not tell from it; or an adapted "
            "encoder with its ranker."
        ),
    ],
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Of the encoder, as `recloop adapt-encoder` named it.")] = None,
    reason: ReasonOption = "",
) -> None:
    """Let a challenger with weights of its own go to staging with the next hour: shown to some users, promoted if it is better."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.steps.challengers import begin

    settings = settings_of(context)
    found = explained(settings, "stage", partial(begin, settings, source, reason, version))
    print(f"{found.lineage} waits: the next hour refreshes it, and its release decision lets it into staging if its gates pass")


@app.command(rich_help_panel=PANEL)
def promote(
    context: typer.Context,
    release: NameArgument,
    reason: ReasonOption = "",
    override: Annotated[bool, typer.Option("--override", help="Also where a gate showed it to be worse; recorded.")] = False,
) -> None:
    """Move a decided release into production from the next hour on: a candidate that abstained, a challenger, an earlier one."""
    from pipelines.steps.moves import promote as move

    _say(_with_mlflow(settings_of(context), lambda settings: move(settings, release, reason, override)))


@app.command(rich_help_panel=PANEL)
def reject(
    context: typer.Context,
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="Its id, its ranker's version, or the lineage in staging.")],
    reason: ReasonOption = "",
) -> None:
    """End the challenger in staging, or bar a candidate: nothing goes on from it. Production stays."""
    from pipelines.steps.moves import reject as move

    _say(_with_mlflow(settings_of(context), lambda settings: move(settings, release, reason)))


@app.command(rich_help_panel=PANEL)
def rollback(
    context: typer.Context,
    to: Annotated[str | None, typer.Option(metavar="RELEASE", help="An earlier production release; without it, the one before.")] = None,
    reason: ReasonOption = "",
) -> None:
    """Put an earlier release back, its models and the scored table together, at once."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.steps.roll_back import run

    settings = settings_of(context)
    _say(explained(settings, "rollback", partial(run, settings, reason, to)))


def _with_mlflow(settings: "Settings", move: "Callable[[Settings], ReleaseRow]") -> "ReleaseRow":
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.services import ensure_mlflow

    ensure_mlflow(settings)
    return explained(settings, "move a release", partial(move, settings))


def _say(row: "ReleaseRow") -> None:
    models = ", ".join(f"{kind} {number}" for kind, number in sorted(row.versions.items()))
    print(f"{row.release_id} {row.stage}: versions {models}; from hour {row.since} on; {'; '.join(row.reasons)}")
