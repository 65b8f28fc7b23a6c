"""A root without tables."""

import pytest

from pipelines.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    (tmp_path / "recloop.yaml").write_text("lake: {start_hour: 2026-11-10T08, now: loop}\n")
    return load_settings(tmp_path, {})
