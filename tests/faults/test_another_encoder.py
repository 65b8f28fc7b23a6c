"""A loop whose encoder is adapted, released by hand and given up again: each hour has vectors and ranker that belong together."""

import pytest
from deltalake import DeltaTable

from models.artifacts import load_ranker
from pipelines.hours import shift
from pipelines.lake.control import read_rows
from pipelines.local.services import down, ensure_mlflow
from pipelines.local.verification import verify
from pipelines.registry.releases import release_folder, release_in_force
from pipelines.settings import load_settings
from pipelines.steps import adapt_encoder, use_encoder
from pipelines.steps.embed_items import encoder_spec
from tests.faults.small_loop import ITEMS, START, STEPS, begin_root, finish_step, land_reactions

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.services]

SECOND, THIRD, FOURTH = (shift(START, number) for number in (1, 2, 3))


@pytest.fixture
def root(tmp_path, spark_server, ending_roots):
    """After the first load and one hour."""
    home = tmp_path / "root"
    settings = begin_root(home, spark_server)
    ending_roots.append(settings)
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
