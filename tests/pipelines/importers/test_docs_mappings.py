"""The examples of docs/bring-your-own-log.md do what the page says."""

import json
import re
from pathlib import Path

import pytest

from pipelines.importers.import_log import import_log
from pipelines.importers.mapping import Feedback, Impressions, Items, Source

PAGE = (Path(__file__).parents[3] / "docs" / "bring-your-own-log.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```\w+ (\S+\.\w+)\n(.*?)```", PAGE, flags=re.S))


@pytest.mark.parametrize(
    ("mapping", "logs", "records"),
    [
        ("orders.yaml", ["orders.csv"], {"feedback": 3, "items": 2}),
        ("films.yaml", ["shown.jsonl", "films.jsonl"], {"impressions": 2, "feedback": 2, "items": 2}),
    ],
)
def test_an_example_gives_what_the_page_says(settings, write, landed, mapping, logs, records):
    report = import_log(settings, [str(write(name, FILES[name])) for name in logs], write(mapping, FILES[mapping]))
    assert (report.records, report.refused) == (records, {})
    ((kind, line),) = re.findall(rf"```json {mapping.removesuffix('.yaml')} (\w+)\n(.*)\n```", PAGE)
    assert landed(kind)[0] == json.loads(line)


def test_every_key_of_a_mapping_is_explained():
    explained = set(re.findall(r"`([a-z_]+)(?::[^`]*)?`", PAGE[PAGE.index("## The mapping") :]))
    for section in (Source, Impressions, Feedback, Items):
        assert set(section.model_fields) <= explained, section.__name__
