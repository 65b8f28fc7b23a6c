import numpy as np
import pytest
import torch

from models.encoder import Encoder, read_tokenizer, tokens_of
from models.encoder_files import default_encoder_path

TITLES = [
    "Red wine glasses, set of six",
    "Crystal goblets for red wine",
    "Bicycle repair kit with tire levers",
    "Star Wars: The Empire Strikes Back",
    "Return of the Jedi (Star Wars)",
    "x",
]


@pytest.fixture(scope="module")
def encoder():
    return Encoder.load(default_encoder_path())


def test_similar_titles_are_closer_than_unrelated_ones(encoder):
    vectors = encoder.encode(TITLES)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] + 0.2
    assert similarity[3, 4] > similarity[3, 2] + 0.2


def test_vectors_are_unit_float32_in_the_order_of_the_texts(encoder):
    vectors = encoder.encode([*TITLES, TITLES[0]])
    assert vectors.dtype == np.float32 and vectors.shape == (7, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[6])
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_each_distinct_text_is_encoded_once(encoder, monkeypatch):
    seen, tokens = [], encoder._tokens
    monkeypatch.setattr(encoder, "_tokens", lambda texts: seen.extend(texts) or tokens(texts))
    encoder.encode(TITLES * 3)
    assert sorted(seen) == sorted(TITLES)


def test_a_vector_does_not_depend_on_its_batch(encoder):
    together = encoder.encode(TITLES)
    backward = encoder.encode(TITLES[::-1])[::-1]
    alone = np.concatenate([encoder.encode([title]) for title in TITLES])
    np.testing.assert_allclose(together, backward, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2"])
def test_tokens_are_those_of_the_tokenizers_own_call(make_encoder, architecture):
    tokenizer = read_tokenizer(make_encoder(architecture))
    for texts in (["", "red wine " * 40, "Ж漢字🍷 glass"], ["one"], ["bicycle tire lever", "wine", " "]):
        own = tokenizer(texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
        found = tokens_of(tokenizer, texts, 16)
        assert torch.equal(found["input_ids"], own["input_ids"]) and torch.equal(found["attention_mask"], own["attention_mask"])
    again = tokenizer(["red wine " * 40], return_tensors="pt")
    assert again["input_ids"].shape[1] > 16, "a call of its own is not cut"


def test_the_version_names_weights_pooling_and_length(encoder):
    assert encoder.version == Encoder(default_encoder_path()).version
    assert len({encoder.version, Encoder(default_encoder_path(), max_tokens=32).version}) == 2
    assert Encoder(default_encoder_path(), pooling="last").version != encoder.version


def test_an_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no encoder at"):
        Encoder(str(tmp_path / "none")).encode(["a"])
    with pytest.raises(ValueError, match="'mean' or 'last'"):
        Encoder("anything", pooling="max")


@pytest.mark.parametrize(("room", "sizes", "devices"), [(3, [6, 3, 3], []), (0, [6, 3, 1, 1, 2], ["cpu"])], ids=["half", "none"])
@pytest.mark.filterwarnings("ignore:the GPU has no memory")
def test_a_gpu_without_room_takes_half_a_batch_and_at_last_the_cpu_does_it(encoder, monkeypatch, room, sizes, devices):
    expected, encode_batch, tried, moved = encoder.encode(TITLES), encoder._encode_batch, [], []

    def on_a_small_gpu(tokens):
        tried.append(len(tokens["input_ids"]))
        if tried[-1] > room and not moved:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode_batch(tokens)

    monkeypatch.setattr(encoder, "_encode_batch", on_a_small_gpu)
    monkeypatch.setattr(encoder._model, "to", lambda device: moved.append(device) or encoder._model, raising=False)
    np.testing.assert_allclose(encoder.encode(TITLES), expected, atol=1e-5)
    assert (tried[: len(sizes)], moved) == (sizes, devices)


def test_less_than_a_batch_at_once_is_said(encoder, monkeypatch):
    encode_batch = encoder._encode_batch

    def on_a_small_gpu(tokens):
        if len(tokens["input_ids"]) == len(TITLES):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode_batch(tokens)

    monkeypatch.setattr(encoder, "_encode_batch", on_a_small_gpu)
    with pytest.warns(UserWarning, match="no memory to encode 6 texts at once; trying half, then the CPU"):
        encoder.encode(TITLES)
