"""Adapters on tiny random encoders of three architectures: what learns, what merging keeps, what is refused."""

import pytest
import torch
from transformers import AutoModel

from models.adapted_encoder import AdaptedEncoder
from models.adapters import Adapted, AdapterSettings, attention_targets
from models.encoder import Encoder

KINDS = ("lora", "adalora", "bottleneck")
ARCHITECTURES = ("bert", "roberta", "gpt2")
TEXTS = ["red wine glass", "blue lamp", "old garden chair red red", "lamp"]


@pytest.fixture
def adapted(make_encoder):
    def make(architecture, kind, seed=3, steps=20):
        pooling = "last" if architecture == "gpt2" else "mean"
        return AdaptedEncoder.read(str(make_encoder(architecture)), pooling, 16, AdapterSettings(kind, rank=2, width=4), steps, seed)

    return make


def learned(encoder, updates=6):
    """Some updates towards vectors that are nowhere near those of the start."""
    goal = torch.nn.functional.normalize(torch.randn(len(TEXTS), 32, generator=torch.Generator().manual_seed(1)), dim=1)
    optimizer = torch.optim.Adam(encoder.adapter.parameters(), lr=0.05)
    for step in range(1, updates + 1):
        optimizer.zero_grad()
        ((encoder.vectors(TEXTS) - goal).square().sum() + encoder.adapter.penalty()).backward()
        optimizer.step()
        encoder.adapter.after_backward(step)
    return encoder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fresh_adapter_changes_nothing_then_only_its_own_weights_learn_and_merging_keeps_the_vectors(
    adapted, make_encoder, tmp_path, architecture, kind
):
    encoder, before = adapted(architecture, kind), AutoModel.from_pretrained(make_encoder(architecture)).state_dict()
    frozen = Encoder.load(str(make_encoder(architecture)), encoder.pooling, 16)
    start = encoder.vectors(TEXTS).detach()
    torch.testing.assert_close(start, torch.from_numpy(frozen.encode(TEXTS)), atol=1e-5, rtol=0)
    model = learned(encoder).adapter.model
    own = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert own and all("lora_" in name or ".adapter." in name for name in own)
    for name, weight in model.state_dict().items():
        plain = name.replace(".base_layer", "").replace(".base.", ".")
        assert name in own or plain not in before or torch.equal(weight, before[plain]), name
    assert set(before) <= {name.replace(".base_layer", "").replace(".base.", ".") for name in model.state_dict()}
    vectors = encoder.vectors(TEXTS).detach()
    assert (vectors - start).abs().max() > 0.05
    encoder.save(tmp_path / "merged")
    merged = Encoder.load(str(tmp_path / "merged"), encoder.pooling, 16)
    torch.testing.assert_close(torch.from_numpy(merged.encode(TEXTS)), vectors, atol=1e-5, rtol=0)
    assert merged.version != frozen.version and type(merged._model).__name__ == type(frozen._model).__name__
    assert {path.name for path in tmp_path.iterdir()} == {"encoders", "merged"}, "nothing half-written stays"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_encoder_and_another_seed_another(adapted, tmp_path, kind):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(name) + seed)  # the global generator is nothing to it
        learned(adapted("bert", kind, seed)).save(tmp_path / name)
    first, second, third = (Encoder(str(tmp_path / name)).version for name in "abc")
    assert first == second != third


def test_adalora_ends_within_its_budget_of_ranks(adapted):
    encoder = learned(adapted("bert", "adalora"), updates=20)
    ranks = [int((weight != 0).sum()) for name, weight in encoder.adapter.model.named_parameters() if "lora_E" in name]
    assert sum(ranks) == 2 * len(ranks) and len(set(ranks)) > 1, "two a layer on average, given to where they matter"


def test_the_layers_of_query_and_value_are_found(make_encoder):
    names = {architecture: attention_targets(AutoModel.from_pretrained(make_encoder(architecture))) for architecture in ARCHITECTURES}
    assert names == {"bert": ["query", "value"], "roberta": ["query", "value"], "gpt2": ["c_attn"]}


def test_what_cannot_be_adapted_is_named(adapted, make_encoder, tmp_path):
    plain = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no query and value layers that are known; found linear layers 0, expected query"):
        Adapted(plain, AdapterSettings("lora"), 10, 0)
    with pytest.raises(ValueError, match="no feed-forward block that the bottleneck knows"):
        Adapted(plain, AdapterSettings("bottleneck"), 10, 0)
    with pytest.raises(ValueError, match="unknown adapter 'prefix'; expected one of lora, adalora, bottleneck"):
        Adapted(plain, AdapterSettings("prefix"), 10, 0)
    with pytest.raises(ValueError, match="AdaLoRA needs at least 4 updates to give out its ranks, found 3"):
        adapted("bert", "adalora", steps=3)
    with pytest.raises(FileNotFoundError, match="no encoder at"):
        AdaptedEncoder.read(str(tmp_path / "none"), "mean", 16, AdapterSettings(), 10, 0)
