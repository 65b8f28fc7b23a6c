"""An empty root, and somebody's files beside it."""

import gzip
import json

import pytest
import yaml

from pipelines.importers.import_log import import_log
from pipelines.importers.mapping import Mapping
from pipelines.settings import load_settings


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path / "root", {})


@pytest.fixture
def write(tmp_path):
    """Writes a file; a dict as YAML."""

    def write(name, content):
        path = tmp_path / name
        content = yaml.safe_dump(content) if isinstance(content, dict) else content
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def imported(settings, write):
    """Imports files by a mapping of one source; answers the report."""

    def run(source, *paths, **options):
        mapping = write("mapping.yaml", source if "sources" in source else {"sources": [source]})
        return import_log(settings, [str(path) for path in paths], mapping, **options)

    return run


@pytest.fixture
def landed(settings):
    """All records of a kind as any reader of JSON Lines finds them, in the order of file names."""

    def read(kind):
        files = sorted((settings.landing / kind).glob("*.jsonl.gz"))
        return [json.loads(line) for path in files for line in gzip.decompress(path.read_bytes()).decode("utf-8").split("\n") if line]

    return read


@pytest.fixture
def source():
    """A source as the mapping file would have it."""
    return lambda **values: Mapping(sources=[values]).sources[0]
