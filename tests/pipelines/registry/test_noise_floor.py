"""The noise floor: the last comparison of production with itself, beside the last challenger's."""

import pytest

from pipelines.hours import end_of, shift
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.registry.noise_floor import noise_sentence
from pipelines.registry.releases import ReleaseRow, append_decision
from pipelines.registry.report import render
from pipelines.registry.report_data import read_report
from pipelines.settings import load_settings

FIRST = "2026-11-23T08"
HOURS = [shift(FIRST, n) for n in range(5)]


@pytest.fixture
def root(tmp_path):
    settings, versions = load_settings(tmp_path / "root", {}), {"encoder": "1", "ranker": "1", "policy": "1"}
    champion = ReleaseRow("r000001", FIRST, versions, "bootstrap", "production", "promote_models", FIRST, end_of(FIRST))
    append_decision(settings, champion, None)
    for number, kind in enumerate(("trial", "same"), start=2):
        row = ReleaseRow(f"r{number:06}", FIRST, versions, kind, "staging", "promote_models", FIRST, end_of(FIRST), lineage=f"{kind}-a")
        append_decision(settings, row, "r000001")
    return settings


def test_without_a_comparison_of_production_with_itself_nothing_is_said(root):
    write_metrics(root, HOURS[1], [Metric("staging_lift", "trial-a", 0.05, 0.01, 0.09, 4000)])
    assert noise_sentence(read_report(root)) == ""


def test_the_newest_of_each_are_beside_each_other(root):
    for hour, value in ((HOURS[1], 0.3), (HOURS[3], 0.004)):
        write_metrics(root, hour, [Metric("staging_lift", "same-a", value, value - 0.06, value + 0.07, 5020)])
    said = " Noise floor: production against production with another seed +0.4% ± 6.5% over 5,020 users' hours"
    assert noise_sentence(read_report(root)) == f"{said}."
    write_metrics(root, HOURS[2], [Metric("staging_lift", "trial-a", -0.02, -0.06, 0.02, 8120)])
    found = noise_sentence(read_report(root))
    assert found == f"{said}; the last challenger -2.0% ± 4.0% over 8,120 users' hours."
    assert found.strip().replace("'", "&#39;") in render(root, read_report(root), {})
