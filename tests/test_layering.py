"""Imports flow one way: dags -> pipelines -> spark_jobs -> models. Parsed, not imported."""

import ast
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("dags", "pipelines", "spark_jobs", "models")
FORBIDDEN = {
    "models": {"pyspark", "airflow", "mlflow", "delta", "deltalake"},
    "spark_jobs": {"airflow", "mlflow"},
    "pipelines": {"airflow"},
    "dags": set(),
}
HEAVY = {"pyspark", "torch", "mlflow", "transformers", "deltalake", "pandas", "sklearn"}
FILES = [path for package in ORDER for path in sorted((ROOT / package).rglob("*.py"))]


def imported(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative import"
            yield node.module.split(".")[0]


def is_for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_lies_below_it(path):
    package = path.relative_to(ROOT).parts[0]
    found = set(imported(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    above = set(ORDER[: ORDER.index(package)])
    assert not found & (above | FORBIDDEN[package])


def test_parsing_a_dag_imports_nothing_heavy():
    for path in sorted((ROOT / "dags").glob("*.py")):
        top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not is_for_types(node)]
        assert not set(imported(top)) & HEAVY, path.name


def test_torch_stays_in_the_functions_that_run_on_executors():
    trees = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "spark_jobs").glob("*.py")}
    with_torch = {name for name, tree in trees.items() if "torch" in set(imported(ast.walk(tree)))}
    allowed = ("candidates", "catalogue", "drawing", "item_rules", "ranker_inputs", "scoring", "worker_daemon")
    assert with_torch <= {f"{name}.py" for name in allowed}


@pytest.mark.parametrize("folder", ["mlflow", "docker", "tests"])
def test_a_folder_that_would_shadow_a_package_has_no_init(folder):
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_an_installed_copy_holds_every_package():
    found = ConfigParser()
    found.read(ROOT / "setup.cfg")
    parts = {path.parent for package in ORDER[1:] for path in (ROOT / package).rglob("__init__.py")}
    assert set(found["options"]["packages"].split()) == {".".join(part.relative_to(ROOT).parts) for part in parts}
