"""``recloop report``: one self-contained page of figures by hour, objectives and drift, releases and why, and what each step took."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.clock import wall_clock
from pipelines.lake.metrics import Metric
from pipelines.local.landing import write_file
from pipelines.local.summary import verdict
from pipelines.registry.model_card import TEMPLATES, fixed, number
from pipelines.registry.releases import PRODUCTION
from pipelines.registry.report_charts import SHOWN_HOURS, gates_chart, hourly_charts
from pipelines.registry.report_data import ReportData, read_report
from pipelines.registry.report_monitoring import read_monitoring
from pipelines.settings import Settings

_TILES = (  # title, metric, subject, slice
    ("share of the best, all live hours", "world_share_of_best", "loop", "live hours"),
    ("reward a slate, all live hours", "world_reward", "loop", "live hours"),
    ("AUC per user, production", "prequential_auc_per_user", "production", "all"),
    ("AUC per user, first release", "prequential_auc_per_user", "frozen", "all"),
)


def write_report(settings: Settings, path: Path) -> Path:
    """Writes the page in one rename and answers its path. An empty root gives a page that says so."""
    write_file(path, render(settings, read_report(settings), service_urls(settings)).encode())
    return path


def render(settings: Settings, data: ReportData, urls: Mapping[str, str]) -> str:
    """The page. ``urls``: of the services that run, by name."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "fixed": fixed, "outcome": verdict}
    newest = data.releases[::-1]
    in_force = next((row for row in newest if row.stage == PRODUCTION), None)
    judged = next((row for row in newest if row.gates), None)
    return environment.get_template("report.html.j2").render(
        settings=settings, data=data, urls=urls, written=wall_clock(), releases=newest, in_force=in_force,
        outcomes=Counter(verdict(row) for row in newest), tiles=_tiles(data), charts=hourly_charts(data),
        gates=gates_chart(judged) if judged else None, monitoring=read_monitoring(data), shown=SHOWN_HOURS,
        models=_model_links(settings, urls),
    )  # fmt: skip


def service_urls(settings: Settings) -> dict[str, str]:
    """Addresses of what this root has running."""
    from pipelines.local.services import running

    return {service.name: service.url for service in running(settings) if service.alive}


def _tiles(data: ReportData) -> Sequence[tuple[str, str, Metric]]:
    """Title, hour and figure of the newest hour that has it."""
    found = []
    for title, name, subject, of_slice in _TILES:
        points = data.named(name, of_slice).get(subject, {})
        if points:
            found.append((title, max(points), points[max(points)]))
    return found


def _model_links(settings: Settings, urls: Mapping[str, str]) -> dict[str, str]:
    """Beginning of a version's page in MLflow, by kind; empty while it does not run."""
    base = urls.get("mlflow")
    kinds = ("encoder", "ranker", "policy") if base else ()
    return {kind: f"{base}/#/models/recloop-{settings.domain}-{kind}/versions/" for kind in kinds}
