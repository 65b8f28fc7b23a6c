"""The whole loop: bootstrap, logged hours and two live hours through Airflow, then the faults that its users meet.

One root serves all tests of this file, in their order; its tables are read by delta-rs and DuckDB, not by the writing engine.
"""

import gzip
import io
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from deltalake import DeltaTable
from rich.console import Console

from pipelines.errors import UserError
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.shown_sets import shown_candidates
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.local import mlflow_server
from pipelines.local.demo import run_demo
from pipelines.local.services import down, mlflow_uri, running, stop_service
from pipelines.local.simulated_users import simulate
from pipelines.local.verification import verify
from pipelines.registry.releases import all_releases
from pipelines.settings import load_settings
from pipelines.steps import finetune_ranker, monitor_hour
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.hour import run_hour
from pipelines.steps.step import Attempt

LOGGED, LIVE = 2, 2
CHAIN = {"build_features", "score_users", "finetune_ranker", "refresh_policy", "promote_models"}
BESIDE = {"example_downstream", "monitor_hour"}  # the demo waits for neither


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root after a small demo; its services run until the end."""
    home = tmp_path_factory.mktemp("system") / "root"
    screen = io.StringIO()
    settings = load_settings(home, {})
    try:
        run_demo(settings, Console(file=screen, width=160), hours=LIVE, logged=LOGGED)
        yield load_settings(home, {}), screen.getvalue()
    finally:
        down(settings)


def frame(settings, table, query):
    """Rows of a DuckDB query over the table as delta-rs reads it, named ``t``."""
    t = DeltaTable(str(settings.warehouse / table)).to_pyarrow_dataset()  # noqa: F841 - DuckDB reads it by name
    return duckdb.sql(query).fetchall()


def hours_of(settings):
    start = settings.lake.start_hour
    return hour_range(start, shift(start, LOGGED + LIVE))


def fingerprint(settings):
    """What readers see: the data tables' versions, rows, and the sum of their rows' hashes."""
    names = ("impressions", "feedback", "training_examples", "user_features", "item_features", "slate_log", "scores", "releases")
    found = {}
    for name in names:
        table = DeltaTable(str(settings.warehouse / name))
        found[name] = (table.version(), *frame(settings, name, "select count(*), sum(hash(t)::hugeint)::varchar from t"))
    return found


def test_every_scored_user_has_k_distinct_items_with_exact_propensities(root):
    settings, _ = root
    k = settings.slates.size
    per_slate = "select count(*), count(distinct item_id), min(position), max(position) from t group by user_id, surface"
    sizes = frame(settings, "scores", per_slate)
    assert len(sizes) > 2000 and set(sizes) == {(k, k, 0, k - 1)}
    assert frame(settings, "scores", "select count(*) from t where not (propensity > 0 and propensity <= 1)") == [(0,)]
    assert frame(settings, "scores", "select count(*) from t where user_id = '__default__'") == [(k,)]
    newest = hours_of(settings)[-1]
    assert frame(settings, "scores", "select distinct hour from t") == [(newest,)]


def test_every_scored_row_was_logged_before_and_names_a_release_that_mlflow_knows(root):
    import mlflow

    settings, _ = root
    scores = DeltaTable(str(settings.warehouse / "scores")).to_pyarrow_dataset()  # noqa: F841
    log = DeltaTable(str(settings.warehouse / "slate_log")).to_pyarrow_dataset()  # noqa: F841
    missing = "select count(*) from scores s anti join log l using (slate_id, position, item_id, propensity)"
    assert duckdb.sql(missing).fetchall() == [(0,)]
    mlflow.set_tracking_uri(mlflow_uri(settings))
    versions = frame(settings, "scores", "select distinct versions.encoder, versions.ranker, versions.policy from t")
    for row in versions:
        for kind, version in zip(("encoder", "ranker", "policy"), row, strict=True):
            assert mlflow.MlflowClient().get_model_version(f"recloop-video-{kind}", version).status == "READY"
    production = [row for row in all_releases(settings) if row.stage == "production"][-1]
    aliased = mlflow.MlflowClient().get_model_version_by_alias("recloop-video-ranker", "production")
    assert str(aliased.version) == production.versions["ranker"]


def test_a_registered_ranker_scores_in_a_process_without_the_checkout(root, tmp_path):
    settings, _ = root
    code = (
        f"import mlflow; mlflow.set_tracking_uri('{mlflow_uri(settings)}'); "
        "m = mlflow.pyfunc.load_model('models:/recloop-video-ranker@production'); "
        "print(m.predict(m.input_example).to_json())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(answer) >= {"click", "watch", "rating"}
    assert all(0 < value < 1 for column in answer.values() for value in column.values())


def test_every_hour_stands_in_the_ledger_and_every_live_hour_ran_in_airflow(root):
    settings, _ = root
    hours = hours_of(settings)
    done = {(row.step, row.hour) for row in ledger.rows(settings) if row.status in ledger.DONE}
    for step in ("ingest", "build_increments", "build_examples", "embed_items", "build_features"):
        assert {hour for s, hour in done if s == step} >= set(hours), step
    with sqlite3.connect(f"file:{settings.home}/airflow/airflow.db?mode=ro", uri=True) as database:
        runs = database.execute("select dag_id, partition_key, state from dag_run").fetchall()
    for hour in hours[-LIVE:]:
        assert {dag for dag, key, state in runs if key == hour and state == "success"} >= CHAIN
    assert CHAIN <= {dag for dag, _, state in runs if state == "success"} <= CHAIN | BESIDE
    assert not {dag for dag, _, state in runs if state == "failed"}


def test_verify_looks_at_everything_and_finds_nothing(root):
    result = verify(root[0])
    assert list(result.findings) == [] and list(result.not_checked) == []


def test_candidates_of_a_file_are_scored_as_training_saw_them_before_their_hour(root, tmp_path):
    """Two engines for what was known before an hour: the examples that Spark built then, and the fold in memory."""
    settings, hour = root[0], hours_of(root[0])[-1]
    current = Attempt(settings, "finetune_ranker", [hour])
    reader = finetune_ranker.example_reader(current, encoder_spec(settings).version)
    shown, hour_of = shown_candidates(settings, settings.reward.tasks), lambda rows: pc.strftime(rows["ts"], "%Y-%m-%dT%H")
    assert sorted(pc.unique(hour_of(shown)).to_pylist()) == hours_of(settings)[1:]
    candidates = shown.filter(pc.equal(hour_of(shown), hour))
    pq.write_table(candidates, tmp_path / "candidates.parquet")
    examples = reader.examples.read([hour], pc.field("revision") == 0)
    place = {pair: row for row, pair in enumerate(zip(examples["slate_id"].to_pylist(), examples["item_id"].to_pylist(), strict=True))}
    order = [place[pair] for pair in zip(candidates["impression_id"].to_pylist(), candidates["item"].to_pylist(), strict=True)]
    seen = []
    kept = lambda hour: seen.append((hour, hour.view.inputs(hour.part, reader.names)))  # noqa: E731 - before the hour is learned
    scored = evaluate(settings, tmp_path / "candidates.parquet", tmp_path / "scored.csv", tmp_path / "figures.json", kept)
    ((found, inputs),), expected = seen, reader.shown(hour).batch.rows(torch.tensor(order))
    ours, theirs = found.view.catalogue.ids.to_numpy(False), reader.catalogue.ids.to_numpy(False)
    for ids, batch in ((ours, inputs), (theirs, expected)):
        assert [ids[row - 1] for row in batch.item.tolist()] == candidates["item"].to_pylist()
    for name in ("item_counters", "item_age_h", "cross"):
        torch.testing.assert_close(getattr(inputs, name), getattr(expected, name), rtol=1e-5, atol=1e-6)
    for name in ("counters", "history_age_h", "history_weight"):
        torch.testing.assert_close(getattr(inputs.user, name), getattr(expected.user, name), rtol=1e-5, atol=1e-4)
    assert np.array_equal(inputs.user.history.numpy() > 0, expected.user.history.numpy() > 0)
    assert {"hourly", "daily", "frozen weights", "production"} <= set(scored["click"].logits)
    written = json.loads((tmp_path / "figures.json").read_text())
    for task in ("click", "watch"):
        assert {gain["over"] for gain in written["gains"] if gain["task"] == task} >= {"daily", "frozen weights"}


def test_impressions_and_reactions_are_what_the_users_landed(root):
    settings, _ = root
    for kind in ("impressions", "feedback"):
        files = (settings.landing / kind).glob("*.jsonl.gz")
        landed = {json.loads(line)["event_id"] for path in files for line in gzip.decompress(path.read_bytes()).splitlines()}
        rows = frame(settings, kind, "select count(*), count(distinct event_id) from t")
        assert rows == [(len(landed), len(landed))]


def test_every_hour_that_learned_audited_its_propensities(root):
    settings, _ = root
    rows = frame(settings, "metrics", "select hour, value, low, high from t where name = 'propensity_mean_weight'")
    assert {hour for hour, *_ in rows} == set(hours_of(settings)[-LIVE - 1 :])
    assert all(low <= 1 <= high for _, _, low, high in rows)
    errors = frame(settings, "metrics", "select max(value) from t where name = 'propensity_max_error'")
    assert errors[0][0] <= 1e-6


def test_the_screen_tells_rewards_decisions_titles_and_addresses(root):
    settings, screen = root
    for row in all_releases(settings):
        assert row.release_id in screen
    for words in ("first recommendations after", "everything frozen", "popularity", "random", "best", "password", "make down"):
        assert words in screen, words
    assert mlflow_uri(settings) in screen


def test_the_same_hour_again_changes_nothing(root):
    settings, _ = root
    monitor_hour.run(settings, hours_of(settings)[-1])  # Airflow may not have come to it
    before = fingerprint(settings)
    outcomes = run_hour(settings, hours_of(settings)[-1])
    assert {outcome.status for outcome in outcomes} == {"unchanged"}
    assert fingerprint(settings) == before


def test_mlflow_stopped_in_the_middle_does_not_stop_the_scored_table(root):
    settings, _ = root
    hour = shift(hours_of(settings)[-1], 1)
    simulate(settings, [hour])
    assert stop_service(settings, mlflow_server.NAME)
    with pytest.raises(UserError, match="MLflow"):
        run_hour(settings, hour)
    assert frame(settings, "scores", "select distinct hour from t") == [(hour,)]
    assert hour not in [row.hour for row in all_releases(settings)]
    assert recloop(settings, "hour", hour).returncode == 0
    assert hour in [row.hour for row in all_releases(settings)]


def recloop(settings, *words):
    command = [sys.executable, "-c", "from pipelines.cli import run; run()", "--home", str(settings.home), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_bad_input_is_one_line_and_changes_nothing(root):
    settings, _ = root
    before = fingerprint(settings)
    for words, said in (
        (("hour", "2999-01-01T00"), "has not ended"),
        (("hour", "yesterday"), "YYYY-MM-DDTHH"),
        (("top", "nobody-of-this-name"), "__default__"),
    ):
        done = recloop(settings, *words)
        assert done.returncode != 0 and said in done.stderr, words
        assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert fingerprint(settings) == before


def test_down_stops_what_the_demo_started(root):
    settings, _ = root
    before = [service for service in running(settings) if service.alive]
    assert {service.name for service in before} >= {"spark", "airflow"}
    down(settings)
    assert not running(settings)
    for service in before:
        assert is_gone(service.pid)


def is_gone(pid):
    """No such process, or one that has ended and waits to be reaped by this one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
