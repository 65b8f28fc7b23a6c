"""The ranker by hand: learned anew from everything, settings tried out, and begun with what another root learned."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.shared import new_console, settings_of

if TYPE_CHECKING:
    from pipelines.settings import Settings
    from pipelines.steps.step import Outcome

PANEL = "Learn beyond the hour"

app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def retrain(
    context: typer.Context,
    hour: Annotated[str | None, typer.Argument(metavar="[HOUR]", help="Last hour to learn; default the newest learned one.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that learn as one, through Spark's TorchDistributor.")] = 1,
    adopt: Annotated[bool, typer.Option("--adopt", help="Let the lineage go on from it: the next hour's candidate starts there.")] = False,
) -> None:
    """Train a ranker from scratch on all examples, and say what the hourly lineage has lost against it. No release moves."""
    from functools import partial

    from pipelines.steps import adopt_retrain, retrain_ranker

    settings = settings_of(context)
    last = retrain_ranker.retrained_hour(settings, hour)
    _run(settings, "retrain", partial(retrain_ranker.run, settings, last, processes))
    if adopt:
        _run(settings, "adopt", partial(adopt_retrain.run, settings))


@app.command(rich_help_panel=PANEL)
def tune(
    context: typer.Context,
    trials: Annotated[int, typer.Option(min=1, help="Settings to try in this call; the next call tries more.")] = 20,
    hours: Annotated[int, typer.Option(min=4, help="Hours to judge on, the last quarter of them only at the end.")] = 48,
    anew: Annotated[bool, typer.Option("--anew", help="Begin with the newest hours; without it a search that was begun goes on.")] = False,
) -> None:
    """Try settings of the ranker test-then-train on the last hours, and print the best ones. Changes no table and no release."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.services import ensure_mlflow
    from pipelines.local.tune_screen import lines
    from pipelines.steps import tune_ranker

    settings = settings_of(context)
    tune_ranker.check(settings, hours)
    ensure_mlflow(settings)
    found = explained(settings, "tune", partial(tune_ranker.run, settings, trials, hours, anew, print))
    print("\n".join(lines(settings, found)))


@app.command(rich_help_panel=PANEL)
def transfer(
    context: typer.Context,
    source: Annotated[Path, typer.Option("--from", metavar="ROOT", help="Root of a loop that has run, of any domain.")],
) -> None:
    """Let this root, before its first hour, begin with what the ranker in production of another root has learned."""
    from pipelines.steps.transfer import take_over

    print(f"the first ranker of this root will begin with {take_over(settings_of(context), source)}")


def _run(settings: "Settings", name: str, work: "Callable[[], Outcome]") -> None:
    from pipelines.local.in_process import explained
    from pipelines.local.services import ensure_mlflow
    from pipelines.local.stages import Stages

    ensure_mlflow(settings)
    with Stages(new_console()).stage(name) as stage:
        outcome = explained(settings, name, work)
        stage.ends_with(f"{outcome.hour} {outcome.status}: {outcome.detail}")
