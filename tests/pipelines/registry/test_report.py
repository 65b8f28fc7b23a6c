import base64
import re
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.clock import wall_clock
from pipelines.hours import end_of, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.registry.gates import Figure
from pipelines.registry.releases import ReleaseRow, append_decision
from pipelines.registry.report import render, write_report
from pipelines.registry.report_data import read_report
from pipelines.settings import Settings, load_settings

FIRST = "2026-11-23T08"
URLS = {"airflow": "http://127.0.0.1:8080", "mlflow": "http://127.0.0.1:5000", "spark": "sc://127.0.0.1:15002"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(tmp_path / "root", {})


def done(step: str, hour: str, seconds: float, **values: object) -> LedgerRow:
    started = end_of(hour)
    ended = started + timedelta(seconds=seconds)
    return LedgerRow(hour, step, str(values.pop("status", "done")), "abc", started, ended, **values)  # type: ignore[arg-type]


@pytest.fixture
def root(settings: Settings) -> Settings:
    """Two hours: a first release, then one that a gate rejected; an attempt that failed."""
    figure = Figure("AUC per user", "fail", -0.0101, -0.0202, 0.0003, -0.003, 4567)
    second, by, versions = shift(FIRST, 1), "promote_models", {"encoder": "1", "ranker": "1", "policy": "1"}
    first = ReleaseRow("r000001", FIRST, versions, "bootstrap", "production", by, FIRST, end_of(FIRST), reasons=("the first release",))
    append_decision(settings, first, None)
    rejected = ReleaseRow(
        "r000002", second, versions | {"ranker": "2"}, "refresh", "rejected", by, shift(FIRST, 2), end_of(second),
        reasons=("AUC per user: <b>worse</b>",), gates=(figure,), compared_with="r000001",
    )  # fmt: skip
    append_decision(settings, rejected, "r000001")
    audit = [Metric("propensity_mean_weight", "log", 1.0, 0.99, 1.01, 300), Metric("propensity_max_error", "log", 1e-9)]
    cold = Metric("prequential_auc_per_user", "production", 0.55, n=400, slice="cold users")
    for hour, auc in ((FIRST, 0.61), (second, 0.6412)):
        write_metrics(settings, hour, [Metric("prequential_auc_per_user", "production", auc, 0.6, 0.7, 4000), cold, *audit])
    failed = done("ingest", FIRST, 1, status="failed", detail="UserError: 12 % refused <script>alert(1)</script>")
    ledger.write_rows(settings, [failed])
    ledger.write_rows(settings, [done("ingest", FIRST, 4, rows_out=1000), done("ingest", shift(FIRST, 1), 6, rows_out=3000)])
    began = end_of(second) + timedelta(minutes=1)
    together = {"started_at": began, "ended_at": began + timedelta(seconds=10), "seconds": {"learn": 8.0}}
    shared = [LedgerRow(hour, "finetune_ranker", "done", "abc", **together) for hour in (FIRST, shift(FIRST, 1))]  # type: ignore[arg-type]
    ledger.write_rows(settings, shared)
    return settings


def test_what_the_tables_say(root):
    data = read_report(root)
    assert data.hours == [FIRST, shift(FIRST, 1)]
    assert data.events == {FIRST: 1000, shift(FIRST, 1): 3000}
    assert data.seconds == {"ingest": {FIRST: 4.0, shift(FIRST, 1): 6.0}, "finetune_ranker": {FIRST: 5.0, shift(FIRST, 1): 5.0}}
    ingest, finetune = data.steps
    assert (ingest.step, ingest.hours, ingest.median_s, ingest.longest_s) == ("ingest", 2, 5.0, 6.0)
    assert (finetune.hours, finetune.median_s, finetune.stages) == (2, 10.0, [("learn", 8.0)])
    assert [row.detail for row in data.failures] == ["UserError: 12 % refused <script>alert(1)</script>"]
    assert data.sliced("prequential_auc_per_user", "production")["cold users"][FIRST].value == 0.55
    assert data.named("prequential_auc_per_user", "all")["production"][shift(FIRST, 1)].value == 0.6412


def test_the_page_tells_why_and_carries_everything_within(root):
    page = render(root, read_report(root), URLS)
    assert "AUC per user: &lt;b&gt;worse&lt;/b&gt;" in page and "<b>worse</b>" not in page and "<script" not in page
    assert "4,567" in page and "-0.0202 to 0.0003" in page and "0.6412" in page
    assert '<span class="badge promoted">promoted</span>' in page and '<span class="badge rejected">rejected</span>' in page
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) == 7 and all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert all(b"<svg" in base64.b64decode(source.partition(",")[2]) for source in sources)
    links = set(re.findall(r'href="([^"]+)"', page))
    pages = ("experiments?workflowType=machine_learning", "models/recloop-video-ranker/versions/2")
    assert links >= {URLS["airflow"], *(f"{URLS['mlflow']}/#/{page}" for page in pages)}
    assert not any(link.startswith("sc://") for link in links)


def test_without_services_nothing_is_linked(root):
    assert "href=" not in render(root, read_report(root), {})


def test_an_empty_root_says_so(settings, tmp_path):
    path = write_report(settings, tmp_path / "pages" / "report.html")
    assert path == tmp_path / "pages" / "report.html" and "No hour has run yet" in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.fixture
def monitored(root):
    """Two hours that were looked at; the clock says that scores are old, and a figure has a name that a page must not run."""
    hostile, second = "user <img src=x>", shift(FIRST, 1)
    ledger.write_rows(root, [done("score_users", FIRST, 3), done("monitor_hour", FIRST, 1), done("monitor_hour", second, 1)])
    for hour, fallbacks in ((FIRST, 0.2), (second, 0.7)):
        states = [Metric("objective_broken", "share of fallbacks (users)", float(fallbacks > 0.5)), Metric("drift_found", "all", 1.0, n=2)]
        drift = [
            Metric(name, subject, value, n=80, slice="last 24 hours")
            for subject, excess, p_value in ((hostile, 0.31, 1e-9), ("label click", -0.002, 0.8))
            for name, value in (("drift_psi", excess), ("drift_p_value", p_value))
        ]  # fmt: skip
        served = [Metric("coverage", "scores", 0.12), Metric("reward_a_slate", "log", 0.4, 0.3, 0.5, 80)]
        write_metrics(root, hour, [Metric("share_of_fallbacks", "users", fallbacks, n=80), *states, *drift, *served])
    return root


def test_objectives_and_drift_are_a_section_with_pictures_first(monitored):
    page = render(monitored, read_report(monitored), {})
    section = page[page.index("<h2>Objectives and drift</h2>") : page.index("<h2>Releases, newest first")]
    titles = re.findall(r"<figcaption><b>([^<]+)</b>", section)
    assert titles == ["Broken objectives", "Drift", "What users did with their slates", "What is recommended"]
    assert "in each hour: share of fallbacks (users)." in section
    assert "1 of 2 figures of its users have drifted" in section and "beside the last 24 hours" in section
    assert "user &lt;img src=x&gt;" in section and "<img src=x>" not in page
    table = section[section.index("<table>") :]
    rows = [re.sub(r"<[^>]+>|\s+", " ", row).split() for row in table.split("<tr>")[2:]]
    assert [row[:3] for row in rows if "broken" in row][-1] == ["share", "of", "fallbacks"]
    assert f"broken since {shift(FIRST, 1)}" in table and "70.0%" in table and "at most 50.0%" in table
    assert section.index("<figure>") < section.index("<table>")


def test_a_broken_age_is_seen_without_an_hour_that_looked_at_it(monitored):
    """The loop of this root stands still since the hours that were written: the section says so by the clock."""
    (age,) = [one for one in read_report(monitored).objectives if one.objective == "age of scores"]
    assert age.broken == (wall_clock() - end_of(FIRST) > timedelta(hours=2))
    assert "age of scores" in render(monitored, read_report(monitored), {})


def test_a_trial_that_was_judged_last_has_its_picture_too(root):
    """Its gates are those of staging: a page of a root that stages anything."""
    figure = Figure("AUC per user", "abstain", 0.01, -0.02, 0.03, -0.003, 4567)
    trial = ReleaseRow(
        "r000003", shift(FIRST, 2), {"encoder": "1", "ranker": "2", "policy": "1"}, "trial", "staging", "promote_models", shift(FIRST, 3),
        end_of(shift(FIRST, 2)), lineage="trial-1", gates=(figure,), compared_with="r000001",
    )  # fmt: skip
    append_decision(root, trial, "r000001")
    assert "Gates of r000003" in render(root, read_report(root), {})
