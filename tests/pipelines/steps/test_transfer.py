"""A root that begins with what another root's production learned."""

import json

import pytest
import torch

from models.artifacts import load_ranker
from models.encoder_files import default_encoder_path
from pipelines.errors import UserError
from pipelines.hours import end_of
from pipelines.registry.releases import ReleaseRow, append_decision, release_folder
from pipelines.settings import load_settings
from pipelines.steps.candidates import RANKER
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.transfer import take_over, transfer_folder, transferred_from

HOUR = "2026-11-10T08"
SIZES = "ranker: {dim: 8, hidden: 16}\n"


def release(settings, save_release, encoder_version, seed=5):
    """The next decision of the root, in production, with models of its own."""
    number = 1 + len(list(settings.releases.glob("*")))
    name = f"r{number:06d}"
    save_release(release_folder(settings, name), 384, encoder_version, seed=seed)
    versions = {"encoder": encoder_version, "ranker": str(number), "policy": str(number)}
    row = ReleaseRow(name, HOUR, versions, "refresh", "production", "test", HOUR, end_of(HOUR))
    append_decision(settings, row, f"r{number - 1:06d}" if number > 1 else None)


@pytest.fixture
def make_root(tmp_path):
    def make(name, text):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recloop.yaml").write_text(text)
        return load_settings(tmp_path / name, {})

    return make


@pytest.fixture
def source(make_root, save_release):
    """A root of the video domain with two releases."""
    settings = make_root("source", "domain: video\n" + SIZES)
    version = encoder_spec(settings).version
    for seed in (5, 6):
        release(settings, save_release, version, seed)
    return settings


def test_the_ranker_in_production_is_taken_and_named(source, make_root):
    root = make_root("new", "domain: social\n" + SIZES)
    assert transferred_from(root) == ""
    assert take_over(root, source.home) == "r000002 of video" == transferred_from(root)
    taken, theirs = (load_ranker(folder / RANKER) for folder in (transfer_folder(root), release_folder(source, "r000002")))
    assert all(torch.equal(one, other) for one, other in zip(taken.parameters(), theirs.parameters(), strict=True))
    (transfer_folder(root) / "from.json").write_text(json.dumps({"release": "old", "domain": "old"}))
    assert take_over(root, source.home) == "r000002 of video", "taken again before the first hour, it is the newest"
    assert [path.name for path in root.home.iterdir() if path.name.startswith(".transfer")] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ranker: {dim: 16, hidden: 16}", r"has dim 8, this root's 16; set ranker\.dim: 8"),
        (SIZES + f"encoder: {{path: {default_encoder_path()}, max_tokens: 32}}", r"reads vectors of encoder .*, this root encodes with"),
    ],
)
def test_what_is_not_alike_is_refused_and_nothing_is_written(source, make_root, text, said):
    root = make_root("new", text)
    with pytest.raises(UserError, match=said):
        take_over(root, source.home)
    assert [path.name for path in root.home.iterdir()] == ["recloop.yaml"]


def test_only_a_root_without_releases_takes_and_only_one_with_a_release_gives(source, make_root):
    with pytest.raises(UserError, match=r"has releases already \(r000002\); transfer comes before a root's first hour"):
        take_over(source, source.home)
    with pytest.raises(UserError, match="no release is in production under"):
        take_over(make_root("new", SIZES), make_root("empty", SIZES).home)
