"""An explanation as one self-contained page."""

from pathlib import Path

from pipelines.local.explanation.records import Explanation
from pipelines.local.explanation.screen import draw_lines, learned_line, release_line, score_line, told_reactions, told_versions
from pipelines.local.landing import write_file
from pipelines.local.summary import verdict
from pipelines.registry.model_card import TEMPLATES, fixed, number


def write_page(found: Explanation, path: Path) -> None:
    """In one rename."""
    write_file(path, render(found).encode())


def render(found: Explanation) -> str:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "fixed": fixed, "reactions": told_reactions, "versions": told_versions}
    return environment.get_template("explanation.html.j2").render(
        found=found, outcome=verdict(found.release), draw_lines=draw_lines(found.draw), score_line=score_line(found.score),
        release_line=release_line(found.release), learned_lines=[learned_line(one) for one in found.learned],
    )  # fmt: skip
