"""Images beside texts: what they add where they tell, what they cost where they do not."""

import dataclasses

import pytest
import torch

from models.content import GatedFusion
from models.metrics import auc
from models.records import ItemTable
from models.training import FinetuneSettings, TrainState, finetune

IMAGE_DIM = 12


@pytest.fixture
def make_image_world(make_ranker_world):
    """The world of texts with images beside them; ``told_by``: where topics are seen, in texts or images; the other is noise."""

    def make(told_by, rows=1500):
        world, draw = make_ranker_world(rows=rows), torch.Generator().manual_seed(4)
        texts, noise = world.items.vectors, torch.randn(len(world.items), IMAGE_DIM, generator=draw)
        images = texts @ torch.randn(16, IMAGE_DIM, generator=draw) if told_by == "images" else noise
        if told_by == "images":
            texts = torch.randn(len(texts), 16, generator=draw)
        texts[0], images[0] = 0, 0
        config = dataclasses.replace(world.config, image_dim=IMAGE_DIM)
        return dataclasses.replace(world, items=ItemTable(texts, images), config=config)

    return make


def test_an_item_without_an_image_is_its_text_and_one_without_a_text_its_image():
    fusion = GatedFusion(IMAGE_DIM, 4)
    text, images = torch.nn.functional.normalize(torch.randn(3, 4), dim=-1), torch.randn(3, IMAGE_DIM)
    images[0], text[1] = 0, 0
    fused = fusion(text, images)
    assert torch.equal(fused[0], text[0])
    torch.testing.assert_close(fused[1], fusion.image(images)[1])
    torch.testing.assert_close(fused.norm(dim=-1), torch.ones(3))
    share = fusion.gate.bias.sigmoid()
    by_hand = (1 - share) * text[2] + share * fusion.image(images)[2]
    torch.testing.assert_close(fused[2], by_hand / by_hand.norm())


@torch.no_grad()
def test_with_images_a_score_is_what_was_taught_and_images_of_another_make_count_as_none(make_image_world):
    world = make_image_world("images", rows=40)
    ranker = world.ranker()
    batch = dataclasses.replace(world.batch, position=torch.zeros_like(world.batch.position))
    scored = ranker.score(batch.user, batch.item.unsqueeze(1), world.items, world.item_state, batch.cross.unsqueeze(1))
    torch.testing.assert_close(scored.squeeze(1), ranker(batch, world.items), atol=1e-5, rtol=0)
    without = ItemTable.of_texts(world.items.vectors)
    other = ItemTable(world.items.vectors, torch.randn(len(world.items), IMAGE_DIM + 1))
    assert torch.equal(ranker(batch, other), ranker(batch, without))
    assert not torch.isclose(ranker(batch, world.items), ranker(batch, without)).any()


def judged(world):
    """AUC of the rows of new items, which no row taught."""
    settings = FinetuneSettings(lr=1e-2, batch_size=64, epochs=10, ema=0.9)
    teaching, judging = world.batch.rows(world.batch.item <= 60), world.batch.rows(world.batch.item > 60)
    learned = finetune(TrainState.create(world.ranker(), settings), teaching, world.items, settings).served()
    with torch.no_grad():
        return auc(judging.labels[:, 0].numpy(), learned(judging, world.items)[:, 0].numpy())


def test_images_teach_what_texts_do_not_say_and_cost_nothing_where_they_say_nothing(make_image_world):
    def without(world):
        return dataclasses.replace(world, config=dataclasses.replace(world.config, image_dim=0))

    telling, noise = make_image_world("images"), make_image_world("texts")
    assert judged(without(telling)) < 0.6 and judged(telling) > 0.85
    assert judged(noise) > judged(without(noise)) - 0.02 > 0.85
