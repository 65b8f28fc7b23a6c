from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mlflow import MlflowClient

from pipelines.errors import UserError
from pipelines.registry.client import RegistryDown
from pipelines.registry.flavors import flavor_of
from pipelines.registry.gates import decide_promotion, load_gates
from pipelines.registry.logged_models import log_model
from pipelines.registry.releases import ReleaseRow, append_decision
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import alias_versions, model_name, register, set_alias, set_aliases, tag_version, versions


@pytest.fixture
def client(mlflow_url: str) -> MlflowClient:
    return MlflowClient(mlflow_url)


def registered(settings, kind, folder, hour, **tags):
    with tracked_run(settings, "finetune_ranker", hour) as run:
        return register(settings, run, kind, folder, hour, tags)


def test_one_version_for_an_hour_and_content(settings, client, make_ranker):
    (_, one), (_, two) = make_ranker(1), make_ranker(2)
    first = registered(settings, "ranker", one, "2026-01-01T00", hours="2026-01-01T00..2026-01-01T00")
    assert registered(settings, "ranker", one, "2026-01-01T00") == first
    others = [registered(settings, "ranker", two, "2026-01-01T00"), registered(settings, "ranker", one, "2026-01-01T01")]
    assert len({first, *others}) == 3
    rows = {row.number: row for row in versions(settings, "ranker")}
    assert [rows[number].hour for number in (first, *others)] == ["2026-01-01T00", "2026-01-01T00", "2026-01-01T01"]
    assert rows[first].tags["content"] == rows[others[1]].tags["content"] != rows[others[0]].tags["content"]
    assert rows[first].tags["encoder_version"] == "made-up" and rows[first].tags["hours"] == "2026-01-01T00..2026-01-01T00"
    assert abs((datetime.now(UTC) - rows[first].created).total_seconds()) < 300
    run = client.get_run(rows[first].run_id)
    assert run.data.tags["hour"] == "2026-01-01T00" and run.data.tags["ranker_version"] == first
    assert list(rows) == sorted(rows, key=int)


def test_a_kill_between_logging_and_registering_leaves_nothing_double(settings, client, make_ranker):
    _, folder = make_ranker(3)
    hour = "2026-01-02T00"
    flavor = flavor_of(settings, "ranker", folder)
    identity = {"kind": "ranker", "content": flavor.content, "hour": hour}
    with tracked_run(settings, "finetune_ranker", hour) as run:
        left = log_model(run, flavor, identity)
    number = registered(settings, "ranker", folder, hour)
    condition = f"tags.content = '{flavor.content}' AND tags.hour = '{hour}'"
    kept = client.search_logged_models([run.experiment_id], condition)
    assert len(kept) == 1 and kept[0].model_id != left and str(kept[0].status) == "READY"
    version = client.get_model_version(model_name(settings, "ranker"), number)
    assert version.source == f"models:/{kept[0].model_id}" and version.run_id == kept[0].source_run_id


def test_the_logged_model_carries_the_figures_of_its_run(settings, client, make_ranker):
    _, folder = make_ranker(4)
    with tracked_run(settings, "finetune_ranker", "2026-01-03T00") as run:
        run.params({"lr": 0.25})
        run.metrics({"prequential_auc.production": 0.71})
        number = register(settings, run, "ranker", folder, "2026-01-03T00")
    version = client.get_model_version(model_name(settings, "ranker"), number)
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert {metric.key: metric.value for metric in logged.metrics} == {"prequential_auc.production": 0.71}
    assert logged.params["lr"] == "0.25"
    assert "prequential_auc: production 0.71" in version.description


def test_an_unknown_version_moves_no_alias(settings, make_ranker, make_policy):
    ranker = registered(settings, "ranker", make_ranker(5)[1], "2026-01-04T00")
    policy = registered(settings, "policy", make_policy(5)[1], "2026-01-04T00")
    set_aliases(settings, {"ranker": ranker, "policy": policy}, "staging")
    before = alias_versions(settings, "staging")
    other = registered(settings, "ranker", make_ranker(6)[1], "2026-01-04T01")
    with pytest.raises(UserError, match="MLflow has no version 9999 of recloop-video-policy"):
        set_aliases(settings, {"ranker": other, "policy": "9999"}, "staging")
    with pytest.raises(UserError, match="unknown kind of model 'reranker'"):
        set_alias(settings, "reranker", "staging", "1")
    assert alias_versions(settings, "staging") == before


def test_mlflow_away_moves_no_alias(make_settings, gateway, make_ranker, quick_to_give_up):
    here, settings = make_settings(), make_settings(uri=gateway.url)
    one, two = (registered(here, "ranker", make_ranker(seed)[1], "2026-01-05T00") for seed in (7, 8))
    set_alias(here, "ranker", "production", one)
    gateway.shut()
    for attempt in (
        lambda: set_alias(settings, "ranker", "production", two),
        lambda: tag_version(settings, "ranker", two, {"decision": "rejected"}),
        lambda: alias_versions(settings, "production"),
        lambda: versions(settings, "ranker"),
    ):
        with pytest.raises(RegistryDown):
            attempt()
    assert alias_versions(here, "production")["ranker"] == one
    assert "decision" not in {row.number: row for row in versions(here, "ranker")}[two].tags


def test_a_promotion_from_candidate_to_production(make_settings, client, make_ranker, make_policy):
    settings = make_settings(domain="ecommerce")
    assert alias_versions(settings, "production") == {} and versions(settings, "ranker") == []
    hours = ("2026-02-01T00", "2026-02-01T01")
    made = []
    for seed, hour in enumerate(hours):
        folders = {"ranker": make_ranker(seed)[1], "policy": make_policy(seed)[1]}
        numbers = {kind: registered(settings, kind, folder, hour) for kind, folder in folders.items()}
        set_aliases(settings, numbers, "candidate")
        made.append(numbers)
    assert made == [{"ranker": "1", "policy": "1"}, {"ranker": "2", "policy": "2"}]
    set_aliases(settings, made[0], "production")

    decision, together, now = decide_promotion({}, load_gates("refresh")), {"encoder": "1"} | made[1], datetime.now(UTC)
    release = ReleaseRow("r000001", hours[1], together, "refresh", "rejected", "promote_models", hours[1], now)
    append_decision(settings, replace(release, reasons=decision.reasons, gates=decision.figures), None)
    tag_version(settings, "ranker", "2", {"decision": "rejected", "release_id": "r000001", "reasons": "AUC per user: not | measured"})
    set_aliases(settings, made[1], "production")
    set_aliases(settings, made[1], "production")

    assert alias_versions(settings, "production") == alias_versions(settings, "candidate") == made[1]
    assert client.get_model_version_by_alias("recloop-ecommerce-policy", "production").version == "2"
    card = client.get_model_version("recloop-ecommerce-ranker", "2").description
    assert "**r000001: rejected.** AUC per user: not \\| measured" in card
    assert "| policy value | abstain | – | – to – | -0.0100 | 0 |" in card.replace("&ensp;", "")
    assert "Not decided yet" in client.get_model_version("recloop-ecommerce-ranker", "1").description
    tags = {row.number: row.tags for row in versions(settings, "ranker")}
    assert tags["2"]["release_id"] == "r000001" and "release_id" not in tags["1"]
