"""A root of one's own begins with settings that load, and samples that no hour takes."""

import json

import pytest
import yaml

from pipelines.errors import UserError
from pipelines.local.init_root import init_root
from pipelines.settings import CONFIG, load_settings


@pytest.mark.parametrize("domain", ["ecommerce", "video", "social"])
def test_the_settings_load_and_every_default_stands_in_them_commented(tmp_path, domain):
    path = init_root(load_settings(tmp_path, {}), domain)
    settings = load_settings(tmp_path, {})
    assert settings.domain == domain and settings.airflow.schedule == "hourly" and settings.lake.start_hour is None
    commented = path.read_text().partition("# Every key")[2].partition("\n")[2]
    told = yaml.safe_load("".join(line.removeprefix("# ") for line in commented.splitlines(keepends=True)))
    defaults = yaml.safe_load((CONFIG / "defaults.yaml").read_text()) | yaml.safe_load((CONFIG / f"{domain}.yaml").read_text())
    assert set(told) == set(defaults) - {"domain", "failpoint"} and told["lake"] == defaults["lake"]
    for kind in ("impressions", "feedback", "items"):
        (sample,) = (settings.landing / kind).iterdir()
        assert sample.name.startswith("_") and json.loads(sample.read_text())["item_id"] == "item-1"


def test_a_root_that_has_settings_is_left_alone(tmp_path):
    (tmp_path / "recloop.yaml").write_text("domain: social\n")
    with pytest.raises(UserError, match="is there already; edit it, or choose another folder with --home"):
        init_root(load_settings(tmp_path, {}), "video")
    assert not (tmp_path / "landing").exists()
