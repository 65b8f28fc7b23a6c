"""A domain's language: masked words where the architecture fills masks, the next word where it goes on with a text."""

import numpy as np
import pytest
import torch
import transformers

from models.adapted_encoder import AdaptedEncoder
from models.adapters import AdapterSettings
from models.encoder import Encoder
from models.language_adaptation import IGNORED, LanguageSettings, adapt_by_language, masked_tokens

PAIRS = (("red", "wine"), ("blue", "lamp"), ("old", "chair"))  # in this domain the second word always follows the first


def domain_texts(count=120):
    random = np.random.default_rng(2)
    return [" ".join(word for number in random.integers(3, size=6) for word in PAIRS[number]) for _ in range(count)]


def read(folder, kind="lora", steps=100):
    return AdaptedEncoder.read(str(folder), "mean", 16, AdapterSettings(kind, rank=4, width=8), steps, seed=3)


def adapted(folder, target, kind="lora", epochs=8):
    settings, losses = LanguageSettings(epochs=epochs, lr=1e-2, head_lr=1e-2, batch_size=16), []
    encoder = read(folder, kind, settings.steps(120))
    adapt_by_language(encoder, str(folder), domain_texts(), settings, lambda _, found: losses.append(found["loss"]))
    encoder.save(target)
    return losses


@pytest.mark.parametrize(("architecture", "kind"), [("bert", "lora"), ("roberta", "adalora"), ("gpt2", "bottleneck")])
def test_an_encoder_learns_the_language_of_a_domain_and_stays_an_ordinary_one(make_encoder, tmp_path, architecture, kind):
    folder = make_encoder(architecture)
    losses = adapted(folder, tmp_path / "adapted", kind)
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    before, after = (Encoder.load(str(path), max_tokens=16) for path in (folder, tmp_path / "adapted"))
    assert np.abs(before.encode(["red wine", "old lamp"]) - after.encode(["red wine", "old lamp"])).max() > 0.01
    assert type(before._model) is type(after._model)


def test_the_same_seed_gives_the_same_encoder(make_encoder, tmp_path):
    folder = make_encoder("bert")
    for name in "ab":
        adapted(folder, tmp_path / name, epochs=1)
    assert Encoder(str(tmp_path / "a")).version == Encoder(str(tmp_path / "b")).version


def test_a_seventh_of_the_words_is_asked_for_and_most_of_these_are_hidden():
    generator = torch.Generator().manual_seed(0)
    ids, special = torch.full((200, 100), 7), torch.zeros(200, 100)
    special[:, 0] = 1
    hidden, labels = masked_tokens(ids, special, 4, 1000, generator)
    asked = labels != IGNORED
    assert not asked[:, 0].any() and (labels[asked] == 7).all() and (hidden[~asked] == 7).all()
    assert asked[:, 1:].float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert (hidden[asked] == 4).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (hidden[asked] == 7).float().mean().item() == pytest.approx(0.1, abs=0.02)
    few = masked_tokens(torch.tensor([[2, 7, 3]]), torch.tensor([[1, 0, 1]]), 4, 1000, generator)[1]
    assert few.tolist() == [[IGNORED, 7, IGNORED]], "of one word, that one"


def test_an_encoder_that_cannot_learn_a_language_is_named(make_encoder, tmp_path):
    folder = make_encoder("bert")
    encoder = read(folder)
    encoder.tokenizer.mask_token = None
    with pytest.raises(ValueError, match=r"BertModel fills masks, but the tokenizer in .* has no mask token"):
        adapt_by_language(encoder, str(folder), ["red wine"], LanguageSettings())
    config = transformers.CLIPTextConfig(vocab_size=13, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    transformers.CLIPTextModel(config).save_pretrained(tmp_path / "clip")
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "clip")
    with pytest.raises(ValueError, match=r"CLIPText.* has a head neither for masked words nor for the next word; adapt it by clicks"):
        adapt_by_language(read(tmp_path / "clip"), str(tmp_path / "clip"), ["red wine"], LanguageSettings())
