import pytest
import torch

from models import artifacts
from models.artifacts import load_policy, load_ranker, save_policy, save_ranker
from models.policies.base import PolicyConfig
from models.policies.learners import make_policy


def test_a_ranker_scores_the_same_after_a_round_trip(make_ranker_world, tmp_path):
    world = make_ranker_world(rows=10)
    ranker = world.ranker()
    save_ranker(ranker, tmp_path / "models" / "ranker")
    loaded = load_ranker(tmp_path / "models" / "ranker")
    assert not loaded.training and loaded.config == ranker.config
    assert torch.equal(loaded(world.batch, world.items), ranker(world.batch, world.items))
    assert sorted(p.name for p in (tmp_path / "models" / "ranker").iterdir()) == ["config.json", "model.safetensors"]


def test_a_policy_survives_a_round_trip_and_an_overwrite(tmp_path):
    first, second = make_policy(PolicyConfig(2, 3)), make_policy(PolicyConfig(2, 3, temperature=0.5))
    torch.nn.init.normal_(second.out.weight)
    for policy in (first, second):
        save_policy(policy, tmp_path / "policy")
    loaded = load_policy(tmp_path / "policy")
    assert loaded.config.temperature == 0.5 and not loaded.training
    assert torch.equal(loaded.out.weight, second.out.weight)
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_a_save_that_fails_leaves_the_earlier_model(tmp_path, monkeypatch):
    policy = make_policy(PolicyConfig(2, 3))
    save_policy(policy, tmp_path / "policy")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(artifacts, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        save_policy(make_policy(PolicyConfig(5, 5)), tmp_path / "policy")
    assert load_policy(tmp_path / "policy").config.user_dim == 2
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_weights_of_another_version_are_refused_in_one_line(tmp_path):
    save_policy(make_policy(PolicyConfig(2, 3)), tmp_path / "policy")
    (tmp_path / "policy" / "config.json").write_text(PolicyConfig(2, 4).to_json())
    with pytest.raises(ValueError, match=r"policy was saved by another version of recloop \(.*\); begin a new root from the log"):
        load_policy(tmp_path / "policy")
