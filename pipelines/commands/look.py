"""What there is to look at: state, recommendations, figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.shared import HourArgument, new_console, print_json, settings_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.settings import Settings

PANEL = "Look at it"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="Instead, where the newest hour went: seconds by step and stage.")] = False,
) -> None:
    """Show the newest hours, the release in force, the scores, the last decision, the services, and what live hours were worth."""
    from pipelines.local.status import read_status

    settings = settings_of(context)
    if timing:
        _print_timing(settings, as_json)
        return
    found = read_status(settings)
    if as_json:
        print_json(found)
        return
    from pipelines.local.screen import print_status, print_summary
    from pipelines.local.summary import read_summary

    console = new_console()
    print_status(console, found)
    print_summary(console, read_summary(settings))


def _print_timing(settings: "Settings", as_json: bool) -> None:
    from pipelines.local.screen import print_timing
    from pipelines.local.timing import read_timing

    found = read_timing(settings)
    if found is None:
        raise UserError("no hour has come to its release decision yet; run `recloop hour`, or wait for one")
    if as_json:
        print_json(found)
    else:
        print_timing(new_console(), found)


@app.command(rich_help_panel=PANEL)
def top(
    context: typer.Context,
    user: Annotated[str | None, typer.Argument(metavar="USER", help="User id; __default__ is the slate for whom nobody knows.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Rows to show.")] = 10,
) -> None:
    """Show a user's recommendations with titles, and why each is there. Without USER: some users who have any."""
    from pipelines.local.recommend import recommend, some_users

    settings = settings_of(context)
    if user is None:
        print("\n".join(some_users(settings)))
        return
    from pipelines.local.screen import print_recommendations

    print_recommendations(new_console(), user, recommend(settings, user, k))


@app.command(rich_help_panel=PANEL)
def explain(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="User id; __default__ is the slate for whom nobody knows.")],
    item: Annotated[str | None, typer.Argument(metavar="ITEM", help="An item of the user's slate; without it the first.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one self-contained page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Say why an item is shown: the draw and its probability, features, own events, the release, and the hours and versions behind it."""
    from pipelines.local.explanation.explain import explain as causes

    found = causes(settings_of(context), user, item)
    if html is not None:
        from pipelines.local.explanation.page import write_page

        write_page(found, html)
    if as_json:
        print_json(found)
        return
    from pipelines.local.explanation.screen import print_explanation

    print_explanation(new_console(), found)
    if html is not None:
        print(f"written: {html}")


@app.command(rich_help_panel=PANEL)
def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for, in words.")],
    user: Annotated[str | None, typer.Option(metavar="USER", help="In the order that fits this user.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Rows to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")] = False,
) -> None:
    """Search the catalogue by text; the ranker in force puts what fits in order."""
    from pipelines.local.search import search as find

    found = find(settings_of(context), query, user, k)
    if as_json:
        print_json(found)
        return
    from pipelines.local.screen import print_results

    print_results(new_console(), found)


@app.command(rich_help_panel=PANEL)
def evaluate(
    context: typer.Context,
    candidates: Annotated[Path | None, typer.Option(
        help="CSV, JSON Lines or Parquet: impression_id, user, item, ts, label (of the first task); where they are there query, surface "
        "and label_<task>. Without it: the slates that the log says were shown.",
    )] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV or Parquet: impression_id, item, score, prob.")] = Path("scored.csv"),
    figures: Annotated[Path | None, typer.Option(help="JSON file for all figures, gains and slices.")] = None,
) -> None:
    """Score candidate sets test-then-train, and say what hourly learning gains over daily and frozen."""
    from functools import partial

    from pipelines.evaluation.evaluate import evaluate as walk_and_score
    from pipelines.local.evaluation_screen import print_hour, print_scored
    from pipelines.local.in_process import explained

    console = new_console()
    scored = explained(
        settings_of(context), "evaluate",
        partial(walk_and_score, settings_of(context), candidates, output, figures, partial(print_hour, console)),
    )  # fmt: skip
    print_scored(console, scored)
    print(f"written: {output}{f' and {figures}' if figures else ''}")


@app.command(rich_help_panel=PANEL)
def ope(
    log: Annotated[Path, typer.Argument(help="Parquet: reward, propensity, target_propensity, and what docs/off-policy.md lists.")],
    policy: Annotated[Path | None, typer.Option(help="Parquet with what the judged policy would have done, row by row of LOG.")] = None,
    estimators: Annotated[str, typer.Option(help="Names with commas between them; without it all that the columns allow.")] = "",
    clip: Annotated[float, typer.Option(min=1, help="Largest importance weight.")] = float("inf"),
    margin: Annotated[float, typer.Option(min=0, help="Loss of reward a decision that counts as not worse.")] = 0.0,
    uniform: Annotated[bool, typer.Option("--uniform", help="The log was drawn uniformly: its propensities are all the same.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead.")] = False,
) -> None:
    """Value a policy from what another one showed: no framework's objects, a table of logged decisions."""
    from pipelines.evaluation.decision_log import judged
    from pipelines.local.ope_screen import print_judged

    found = judged(log, policy, tuple(name.strip() for name in estimators.split(",") if name.strip()), clip, margin, uniform)
    if as_json:
        print_json(found)
    else:
        print_judged(new_console(), found)


@app.command(rich_help_panel=PANEL)
def report(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("recloop-report.html"),
) -> None:
    """Write a one-page report of learning curves, objectives and drift, releases and gates."""
    from pipelines.registry.report import write_report

    write_report(settings_of(context), output)
    print(f"written: {output}")


@app.command(rich_help_panel=PANEL)
def doctor(context: typer.Context) -> None:
    """Check Java, memory, ports, versions and jars; each missing thing with its remedy."""
    from pipelines.local.doctor import checks

    found = checks(settings_of(context))
    for check in found:
        remedy = "" if check.ok else f"; {check.remedy}"
        print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}{remedy}")
    if failed := [check.name for check in found if not check.ok]:
        raise UserError(f"{len(failed)} of {len(found)} checks failed: {', '.join(failed)}")


@app.command(rich_help_panel=PANEL)
def impact(
    context: typer.Context,
    hour: HourArgument,
    poison: Annotated[str | None, typer.Option(metavar="REASON", help="Mark the hour: no model learns from it or is judged by it.")] = None,
    lift: Annotated[bool, typer.Option("--lift", help="Take the mark away.")] = False,
) -> None:
    """Say which models, slates and releases used an hour; with --poison, keep it out of training, replay and gates from now on."""
    from pipelines.lake import holds
    from pipelines.registry.impact import impact as used

    settings = settings_of(context)
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
