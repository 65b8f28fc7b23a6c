"""A loop whose encoder is adapted, released by hand and given up again: each hour has vectors and ranker that belong together."""

import shutil
from pathlib import Path

import pytest
from deltalake import DeltaTable

from models.artifacts import load_ranker
from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake.control import read_rows
from pipelines.local.verification import verify
from pipelines.registry.releases import release_folder, release_in_force
from pipelines.settings import load_settings
from pipelines.steps import adapt_encoder, use_encoder
from pipelines.steps.embed_items import encoder_spec
from tests.faults.small_loop import HOURS, ITEMS, STEPS, finish_step, land_reactions

pytestmark = [pytest.mark.faults, pytest.mark.spark, pytest.mark.services]


@pytest.fixture
def root(staged, tmp_path, ending_roots):
    home = Path(shutil.copytree(staged.after[STEPS[-1]], tmp_path / "root"))
    ending_roots.append(load_settings(home, {}))
    return home


def play(home, hour):
    """All steps of the hour on what users do; the release that drew it, its encoder's version, and the detail of its learning."""
    land_reactions(home, hour)
    said = {step: finish_step(home, step, hour) for step in STEPS}
    settings = load_settings(home, {})
    release = release_in_force(settings, hour)
    return release, load_ranker(release_folder(settings, release.release_id) / "ranker").config.encoder_version, said["finetune_ranker"]


def test_the_loop_goes_on_with_an_adapted_encoder_and_back(root):
    first = encoder_spec(load_settings(root, {})).version
    outcome = adapt_encoder.run(load_settings(root, {}), HOURS[-1], "bottleneck", 1)
    version = outcome.detail.split()[1]
    assert outcome.status == "done" and version != first
    chosen = use_encoder.run(load_settings(root, {}), version)
    fourth, fifth = shift(HOURS[-1], 1), shift(HOURS[-1], 2)

    release, encoder, learned = play(root, fourth)
    assert (release.release_id, encoder) == (chosen.release_id, version) and learned.startswith("done")
    vectors = DeltaTable(str(root / "warehouse" / "item_embeddings")).to_pyarrow_table()
    held = vectors["encoder_version"].to_pylist()
    assert held.count(first) == held.count(version) == len(ITEMS)
    settings = load_settings(root, {})
    arms = {row["subject"] for row in read_rows(settings, "metrics") if row["hour"] == fourth and row["name"] == "prequential_auc"}
    assert arms == {"production", "lineage"}, "the first release reads other vectors"

    by_hand = (root / "recloop.yaml").read_text()
    use_encoder.name_encoder(settings, None)
    with pytest.raises(UserError, match=f"reads vectors of encoder {version}, encoder.path gives {first}"):
        land_reactions(root, fifth)
        finish_step(root, "build_features", fifth)
        finish_step(root, "finetune_ranker", fifth)
    (root / "recloop.yaml").write_text(by_hand)
    for step in STEPS[1:]:
        finish_step(root, step, fifth)
    back = use_encoder.back(load_settings(root, {}))
    release, encoder, learned = play(root, shift(fifth, 1))
    assert (release.release_id, encoder) == (back.release_id, first) and learned.startswith("done")
    assert list(verify(load_settings(root, {})).findings) == []
