"""The encoder beyond the hour: adapting it to feedback, and releasing what was adapted."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.shared import new_console, settings_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.settings import Settings

PANEL = "Learn beyond the hour"

app = typer.Typer()


@app.command("adapt-encoder", rich_help_panel=PANEL)
def adapt_encoder(
    context: typer.Context,
    hour: Annotated[str | None, typer.Argument(metavar="[HOUR]", help="Newest hour to go by; without it the newest finished one.")] = None,
    method: Annotated[
        Literal["lora", "adalora", "bottleneck", "mlm"],
        typer.Option(help="Which adapter learns from clicks; mlm: from the texts alone (masked words, next word for GPT kinds)."),
    ] = "lora",
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the examples, or texts; without it adapter.epochs.")] = None,
) -> None:
    """Let the encoder learn from feedback; say what it gains over the frozen one, on new items above all. Releases nothing."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.local.stages import Stages
    from pipelines.steps.adapt_encoder import run

    settings, stages = settings_of(context), Stages(new_console())
    _start_mlflow(settings)
    with stages.stage(f"adapt the encoder by {method}") as stage:
        outcome = explained(settings, "adapt-encoder", partial(run, settings, hour, method, epochs))
        version, *gains = outcome.detail.split("; ")
        stage.ends_with(version)
    for gain in gains:
        stages.note(gain)
    name = version.split()[1]
    stages.note(f"`recloop stage encoder {name}` shows it, with the ranker that was fitted to it, to some users")
    stages.note(f"`recloop use-encoder {name}` releases both")


@app.command("use-encoder", rich_help_panel=PANEL)
def use_encoder(
    context: typer.Context,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Encoder version that adapt-encoder named.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Release again the models from before the encoder at work was chosen.")] = False,
) -> None:
    """Release an adapted encoder together with its ranker, from the next hour on, and name it in recloop.yaml."""
    from functools import partial

    from pipelines.local.in_process import explained
    from pipelines.steps import use_encoder as use

    if (version is None) != back:
        raise UserError("give either the VERSION that `recloop adapt-encoder` named, or --back")
    settings = settings_of(context)
    _start_mlflow(settings)
    row = explained(settings, "use-encoder", partial(use.run, settings, version) if version else partial(use.back, settings))
    models = ", ".join(f"{kind} {number}" for kind, number in sorted(row.versions.items()))
    print(f"release {row.release_id}: versions {models}; in force from {row.since} on")


def _start_mlflow(settings: "Settings") -> None:
    from pipelines.local.services import ensure_mlflow

    ensure_mlflow(settings)
