"""A loop whose encoder is adapted, released by hand and given up again: each hour has vectors and ranker that belong together."""

import pytest
from deltalake import DeltaTable

from models.artifacts import load_policy, load_ranker
from pipelines.hours import end_of, shift
from pipelines.lake.control import read_rows
from pipelines.lake.tables import read_table
from pipelines.local.services import down, ensure_mlflow
from pipelines.local.verification import verify
from pipelines.registry.release_files import install
from pipelines.registry.releases import (
    ReleaseRow,
    append_decision,
    newest_production,
    next_release_id,
    release_folder,
    release_in_force,
)
from pipelines.settings import load_settings
from pipelines.steps import adapt_encoder, moves, roll_back, use_encoder
from pipelines.steps.adapted_encoders import read_report
from pipelines.steps.candidates import candidate_folder, challenger_folder
from pipelines.steps.challengers import begin
from pipelines.steps.encoders import encoder_spec, read_version
from tests.faults.small_loop import ITEMS, START, STEPS, begin_root, finish_step, land, land_reactions

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.services]

SECOND, THIRD, FOURTH, FIFTH, SIXTH = (shift(START, number) for number in range(1, 6))


@pytest.fixture
def root(tmp_path, spark_server):
    """After the first load and one hour."""
    home = tmp_path / "root"
    settings = begin_root(home, spark_server)
    try:
        ensure_mlflow(settings)
        for step in (STEPS[0], *STEPS[2:], STEPS[1]):
            finish_step(home, step, START)
        play(home, SECOND)
        yield home
    finally:
        down(settings)


def play(home, hour):
    """All steps of the hour on what users do; the release that drew it, its encoder's version, and the detail of its learning."""
    land_reactions(home, hour)
    said = {step: finish_step(home, step, hour) for step in STEPS}
    settings = load_settings(home, {})
    release = release_in_force(settings, hour)
    return release, load_ranker(release_folder(settings, release.release_id) / "ranker").config.encoder_version, said["finetune_ranker"]


def test_the_loop_goes_on_with_an_adapted_encoder_and_back(root):
    first = encoder_spec(load_settings(root, {})).version
    outcome = adapt_encoder.run(load_settings(root, {}), SECOND, "bottleneck", 1)
    version = outcome.detail.split()[1]
    assert outcome.status == "done" and version != first
    chosen = use_encoder.run(load_settings(root, {}), version)

    release, encoder, learned = play(root, THIRD)
    assert (release.release_id, encoder) == (chosen.release_id, version) and learned.startswith("done")
    held = DeltaTable(str(root / "warehouse" / "item_embeddings")).to_pyarrow_table()["encoder_version"].to_pylist()
    assert held.count(first) == held.count(version) == len(ITEMS)
    rows = read_rows(load_settings(root, {}), "metrics")
    arms = {row["subject"] for row in rows if row["hour"] == THIRD and row["name"] == "prequential_auc"}
    assert arms == {"production", "lineage"}, "the first release reads other vectors"

    back = use_encoder.back(load_settings(root, {}))
    release, encoder, learned = play(root, FOURTH)
    assert (release.release_id, encoder) == (back.release_id, first) and learned.startswith("done")
    assert list(verify(load_settings(root, {})).findings) == []


def staged(settings, hour, challenger):
    """The hour's challenger in staging, as its release decision begins it where users are many enough for its gates."""
    name = next_release_id(settings)
    champion = newest_production(settings)
    versions = champion.versions | {"encoder": read_report(settings, challenger.encoder_version).versions["encoder"]}
    row = ReleaseRow(
        name, hour, versions, challenger.kind, "staging", "test", shift(hour, 1), end_of(hour), challenger.lineage,
        compared_with=champion.release_id,
    )  # fmt: skip
    own = challenger_folder(settings, hour)
    install(release_folder(settings, name), {kind: own / kind for kind in ("ranker", "policy")}, name)
    append_decision(settings, row, champion.release_id)
    return row


def drawn(settings, hour):
    rows = read_table(settings, "slate_decisions", hours=[hour], columns=["user_id", "arm", "release_id"]).to_pylist()
    return {arm: {row["release_id"] for row in rows if row["arm"] == arm} for arm in {row["arm"] for row in rows}}


def test_an_encoder_goes_through_staging_beside_production_and_its_lineage_goes_on_until_it_is_taken_back(root):
    """Two encoders' vectors in one hour: production's ranker reads the one, the challenger's the other."""
    first = encoder_spec(load_settings(root, {})).version
    version = adapt_encoder.run(load_settings(root, {}), SECOND, "bottleneck", 1).detail.split()[1]
    challenger = begin(load_settings(root, {}), "encoder", "a try", version)
    assert (challenger.kind, challenger.encoder_version, challenger.lineage) == ("change", version, f"encoder-{SECOND}")

    _, encoder, learned = play(root, THIRD)
    settings = load_settings(root, {})
    assert encoder == first and learned.startswith("done")
    held = DeltaTable(str(root / "warehouse" / "item_embeddings")).to_pyarrow_table()["encoder_version"].to_pylist()
    assert held.count(first) == held.count(version) == len(ITEMS), "from the hour after it was asked for"
    own = challenger_folder(settings, THIRD)
    assert read_version(own / "ranker") == version and load_policy(own / "policy").temperature > 0
    figures = {row["name"] for row in read_rows(settings, "metrics") if row["hour"] == THIRD and row["subject"] == "challenger"}
    assert {"gate_finite", "gate_slate_entropy_ratio", "gate_exposure_ratio"} <= figures, "judged beside production"

    row = staged(settings, THIRD, challenger)
    land(root, "items", "new", [{"item_id": "new", "title": "A late film", "text": "A Western about rain"}])
    release, encoder, _ = play(root, FOURTH)
    arms = drawn(settings, FOURTH)
    assert arms == {"production": {release.release_id}, "challenger": {row.release_id}} and encoder == first
    embedded = DeltaTable(str(root / "warehouse" / "item_embeddings")).to_pyarrow_table().to_pylist()
    assert {found["encoder_version"] for found in embedded if found["item_id"] == "new"} == {first, version}
    assert list(verify(settings).findings) == []

    before = newest_production(settings)
    won = moves.promote(settings, row.release_id, "it won")
    assert encoder_spec(load_settings(root, {})).version == version, "recloop.yaml follows"
    release, encoder, learned = play(root, FIFTH)
    assert (release.release_id, encoder) == (won.release_id, version) and learned.startswith("done")
    assert drawn(settings, FIFTH).keys() <= {"production", "predecessor"}
    assert read_version(candidate_folder(settings, FIFTH) / "ranker") == version, "the lineage goes on with the new encoder"

    back = roll_back.run(load_settings(root, {}), "a complaint")
    assert back.versions == before.versions and encoder_spec(load_settings(root, {})).version == first
    release, encoder, learned = play(root, SIXTH)
    assert (release.release_id, encoder) == (back.release_id, first) and learned.startswith("done")
    assert list(verify(load_settings(root, {})).findings) == []
