"""The card of a version: what it learned from, how it compares with production, what was decided and why, how to load it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry.card_limits import commands, limits
from pipelines.registry.client import call
from pipelines.registry.gates import Figure
from pipelines.registry.releases import all_releases
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

TEMPLATES = Path(__file__).parents[2] / "mlflow"


@dataclass(frozen=True)
class Card:
    """``inputs``: Delta versions; ``metrics``: by ``<name>.<subject>``; ``tags`` carry hour, decision, reasons and provenance."""

    kind: str
    name: str
    number: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    gates: Sequence[Figure] = ()


def model_card(card: Card) -> str:
    """The card as Markdown."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"cell": _cell, "number": number, "fixed": fixed}
    return environment.get_template("model_card.md.j2").render(
        card=card, by_subject=_by_subject(card.metrics), limits=limits(card), commands=commands(card)
    )  # fmt: skip


def describe(settings: Settings, kind: str, name: str, number: str) -> None:
    """Writes the version's card, from its run and tags and the release it became part of, as its description."""
    card = call(settings, lambda client: _read(client, settings, kind, name, number))
    call(settings, lambda client: client.update_model_version(name, number, model_card(card)))


def _read(client: "MlflowClient", settings: Settings, kind: str, name: str, number: str) -> Card:
    version = client.get_model_version(name, number)
    run = client.get_run(str(version.run_id))
    release = version.tags.get("release_id")
    gates = next((row.gates for row in all_releases(settings) if row.release_id == release), ()) if release else ()
    datasets = run.inputs.dataset_inputs if run.inputs else []
    inputs = {found.dataset.name: found.dataset.digest for found in datasets}
    return Card(kind, name, number, inputs, run.data.params, run.data.metrics, version.tags, gates)


def _by_subject(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """``{"auc.frozen": 0.7}`` as ``{"auc": {"frozen": 0.7}}``; a name without a subject has the empty one. Slices are left to the run."""
    found: dict[str, dict[str, float]] = {}
    for name in sorted(name for name in metrics if "/" not in name):
        figure, _, subject = name.partition(".")
        found.setdefault(figure, {})[subject] = metrics[name]
    return found


def _cell(text: object) -> str:
    """One line that breaks no table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def number(value: float | None) -> str:
    """Four significant digits, whole from ten thousand up; a dash for none."""
    if value is not None and abs(value) >= 1e4:
        return f"{value:,.0f}"
    return "–" if value is None else f"{value:.4g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"


def fixed(value: float | None) -> str:
    """Four decimals; a dash for none."""
    return "–" if value is None else f"{value:.4f}"
