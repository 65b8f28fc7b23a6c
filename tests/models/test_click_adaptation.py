"""The click loss on encoders of which every text is encoded once: its gradients, and a world in which only an adapted encoder sees."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from models.adapted_encoder import AdaptedEncoder
from models.adapters import AdapterSettings
from models.click_adaptation import ClickSettings, ItemTexts, adapt_by_clicks, backward, click_head, text_only
from models.encoder import Encoder
from models.metrics import auc
from models.ranker import RankerConfig
from models.records import ItemTable, RankerBatch, UserState
from models.training import FinetuneSettings, TrainState, finetune, ranker_loss

CONFIG = RankerConfig(("clicks",), ("clicks",), ("met",), ("click",), "random", 32, dim=8, history=6, hidden=16)
LOUD = [f"loud{number}" for number in range(3)]
CALM = [f"calm{number}" for number in range(3)]
SHOWN, ITEMS = 80, 160
FILLERS = [f"word{number}" for number in range(60)]


@dataclass(frozen=True)
class World:
    """Items are of two kinds, told by one word in four; a user clicks what is of the kind of the own history."""

    texts: list[str]
    loud: np.ndarray
    shown: RankerBatch  # of the first SHOWN items
    cold: RankerBatch  # of the others, which no training row and no history holds


@pytest.fixture(scope="module")
def world():
    random = np.random.default_rng(5)
    loud = random.random(ITEMS) < 0.5
    texts = []
    for kind in loud:
        words = [*random.choice(FILLERS, 3), random.choice(LOUD if kind else CALM)]
        texts.append(" ".join(random.permutation(words)))

    def rows(count, first, last):
        taste = random.random(count) < 0.5
        history = np.stack([1 + random.choice(np.flatnonzero(loud[:SHOWN] == likes), 6) for likes in taste])
        item = random.integers(first, last, count)
        chance = np.where(loud[item] == taste, 0.9, 0.1)
        return RankerBatch(
            UserState(torch.ones(count, 1), torch.from_numpy(history), torch.ones(count, 6), torch.ones(count, 6)),
            torch.from_numpy(item) + 1, torch.ones(count, 1), torch.ones(count), torch.ones(count, 1),
            torch.zeros(count, dtype=torch.int64), torch.from_numpy((random.random(count) < chance).astype(np.float32))[:, None],
            torch.ones(count), torch.zeros(count, dtype=torch.int64),
        )  # fmt: skip

    return World(texts, loud, rows(3000, 0, SHOWN), rows(1500, SHOWN, ITEMS))


@pytest.fixture
def read(make_encoder):
    def make(architecture="bert", kind="lora", steps=20):
        folder = make_encoder(architecture, " ".join([*FILLERS, *LOUD, *CALM]))
        pooling = "last" if architecture == "gpt2" else "mean"
        return AdaptedEncoder.read(str(folder), pooling, 16, AdapterSettings(kind, rank=4, width=8), steps, seed=3)

    return make


def frozen_table(encoder, texts):
    with torch.no_grad():
        return ItemTable.of_texts(torch.cat([torch.zeros(1, 32), encoder.vectors(texts)]))


def gradients(encoder, head):
    return {**dict(encoder.adapter.model.named_parameters()), **{f"head {name}": p for name, p in head.named_parameters()}}


@pytest.mark.parametrize("texts_at_once", [1000, 5], ids=["at once", "in parts"])
@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_encoding_each_text_once_gives_the_gradients_of_encoding_it_for_each_row(read, world, monkeypatch, architecture, texts_at_once):
    encoder = read(architecture)
    for weight in encoder.adapter.parameters():
        torch.nn.init.normal_(weight, std=0.2, generator=torch.Generator().manual_seed(1))  # B = 0 would hide the gradients of A
    texts = [*world.texts[:-1], world.texts[0]]  # two items of one text
    rows = text_only(world.shown.rows(slice(0, 12)), 6)
    rows = replace(rows, item=torch.cat([rows.item[:10], torch.tensor([1, ITEMS])]))
    settings = ClickSettings(texts_at_once=texts_at_once)
    head = click_head(CONFIG, text_only(world.shown, 6), frozen_table(encoder, texts), settings).eval()
    seen, vectors = [], AdaptedEncoder.vectors
    monkeypatch.setattr(AdaptedEncoder, "vectors", lambda self, part: seen.append(list(part)) or vectors(self, part))
    head.zero_grad()
    value = backward(encoder, head, rows, ItemTexts.of(texts), settings)
    found = {name: weight.grad.clone() for name, weight in gradients(encoder, head).items() if weight.grad is not None}
    encoded = [text for part in seen for text in part]
    used = {texts[row - 1] for row in torch.cat([rows.item, rows.user.history.flatten()]).tolist()}
    assert sorted(encoded) == sorted([*used] * (1 if texts_at_once == 1000 else 2)) and max(map(len, seen)) <= texts_at_once

    encoder.adapter.model.zero_grad()
    head.zero_grad()
    monkeypatch.undo()
    total = 0.0
    for number in range(len(rows)):  # every impression by itself, its texts encoded for it alone
        own = torch.cat([rows.item[number : number + 1], rows.user.history[number]]).unique()
        table = torch.zeros(len(texts) + 1, 32).index_put((own,), encoder.vectors([texts[row - 1] for row in own.tolist()]))
        loss = ranker_loss(head, rows.rows(slice(number, number + 1)), ItemTable.of_texts(table), settings.tower_weight) / len(rows)
        loss.backward()
        total += loss.item()
    assert value.item() == pytest.approx(total, abs=1e-5)
    expected = {name: weight.grad for name, weight in gradients(encoder, head).items() if weight.grad is not None}
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=2e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def cold_auc(table, world):
    """Of a ranker fitted anew on these vectors, on items that nobody had met."""
    settings = FinetuneSettings(lr=2e-3, batch_size=256, epochs=4, seed=3)
    head = click_head(CONFIG, text_only(world.shown, 6), table, ClickSettings(head_epochs=1))
    ranker = finetune(TrainState.create(head, settings), text_only(world.shown, 6), table, settings).ranker.eval()
    with torch.no_grad():
        scores = ranker(text_only(world.cold, 6), table)[:, 0]
    return auc(world.cold.labels[:, 0].numpy(), scores.numpy())


@pytest.mark.parametrize(
    ("architecture", "kind", "gain"), [("bert", "lora", 0.1), ("roberta", "adalora", 0.1), ("gpt2", "bottleneck", 0.05)]
)
def test_an_adapted_encoder_tells_items_apart_that_nobody_has_met(read, world, tmp_path, architecture, kind, gain):
    settings = ClickSettings(epochs=6, lr=1e-2, ranker_lr=3e-3, batch_size=128, history=6)
    rows = text_only(world.shown, 6)
    encoder = read(architecture, kind, settings.steps(len(rows)))
    before = frozen_table(encoder, world.texts)
    losses = []
    head = click_head(CONFIG, rows, before, settings)
    adapt_by_clicks(encoder, head, rows, ItemTexts.of(world.texts), settings, lambda _, found: losses.append(found["loss"]))
    encoder.save(tmp_path / "adapted")
    vectors = Encoder.load(str(tmp_path / "adapted"), encoder.pooling, 16).encode(world.texts)
    frozen, adapted = cold_auc(before, world), cold_auc(ItemTable.from_numpy(vectors), world)
    assert len(losses) == settings.steps(len(rows)) and np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    assert frozen < 0.72 and adapted > frozen + gain, "the best possible is 0.90"
