"""The documentation says what the code does: schemas, sample lines, reasons, tables."""

import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest

from pipelines.lake.table_docs import render
from spark_jobs.parsing import _COLLECTIONS, _REQUIRED, _STRINGS, REASONS

DOCS = Path(__file__).parents[1] / "docs"
KINDS = {"impression": "impressions", "feedback": "feedback", "item": "items"}
EVENTS = (DOCS / "events.md").read_text(encoding="utf-8")


def schema(kind):
    return json.loads((DOCS / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8"))


def samples():
    return [(kind, json.loads(line)) for kind, line in re.findall(r"```json (\w+)\n(.*)\n```", EVENTS)]


def test_every_kind_of_event_has_a_sample_that_its_schema_accepts():
    assert {kind for kind, _ in samples()} == set(KINDS)
    for kind, sample in samples():
        jsonschema.validate(sample, schema(kind), format_checker=jsonschema.FormatChecker())


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_names_the_fields_that_the_parser_reads(kind):
    table = KINDS[kind]
    assert set(schema(kind)["properties"]) == set(_STRINGS[table]) | set(_COLLECTIONS[table])
    assert sorted(schema(kind)["required"]) == sorted(_REQUIRED[table])


def test_the_reasons_for_refusal_are_the_parsers():
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", EVENTS, flags=re.M)) == REASONS


def test_the_page_of_tables_is_made_from_the_contracts():
    assert (DOCS / "tables.md").read_text(encoding="utf-8") == render(), "run: python -m pipelines.lake.table_docs > docs/tables.md"


def test_the_example_of_off_policy_evaluation_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "off-policy.md").read_text(encoding="utf-8"), flags=re.S)
    exec(code, {})
    assert re.fullmatch(r"Interval\(mean=.*\) (not shown|better|worse)\n", capsys.readouterr().out)


def test_the_readmes_figures_are_those_of_the_benchmarks():
    spec = importlib.util.spec_from_file_location("readme_table", DOCS.parent / "benchmarks" / "readme_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert module.render() in readme, "run: python benchmarks/readme_table.py, and put its table into README.md"
