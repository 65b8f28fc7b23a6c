import dataclasses

import pytest
import torch

from models import training
from models.metrics import auc
from models.training import FinetuneSettings, TrainState, finetune

FAST = FinetuneSettings(lr=3e-3, batch_size=128, epochs=8)


@torch.no_grad()
def held_out_auc(state, world, rows=1000):
    held_out = world.batch.rows(slice(-rows, None))
    logits = state.served()(held_out, world.items)
    return auc(held_out.labels[:, 0].numpy(), logits[:, 0].numpy())


def weights(state):
    return {**state.ranker.state_dict(), **{f"ema.{name}": weight for name, weight in state.ema_weights.items()}}


def test_finetune_finds_the_taste_that_only_the_text_tells(make_ranker_world):
    world = make_ranker_world(rows=4000)
    state = finetune(TrainState.create(world.ranker(), FAST), world.batch.rows(slice(3000)), world.items, FAST)
    assert held_out_auc(state, world) > 0.8


def test_permuted_labels_teach_nothing(make_ranker_world):
    world = make_ranker_world(rows=4000)
    order = torch.randperm(4000, generator=torch.Generator().manual_seed(1))
    world = dataclasses.replace(world, batch=dataclasses.replace(world.batch, labels=world.batch.labels[order]))
    state = finetune(TrainState.create(world.ranker(), FAST), world.batch.rows(slice(3000)), world.items, FAST)
    assert 0.44 < held_out_auc(state, world) < 0.56


def test_the_towers_alone_learn_to_retrieve(make_ranker_world):
    world = make_ranker_world(rows=4000)
    settings = dataclasses.replace(FAST, tower_weight=1.0)
    state = finetune(TrainState.create(world.ranker(), settings), world.batch.rows(slice(3000)), world.items, settings)
    ranker, held_out = state.served(), world.batch.rows(slice(3000, None))
    dot = (
        ranker.user_vectors(held_out.user, world.items)
        * ranker.item_vectors(world.items, world.item_state)[held_out.item]
    ).sum(1)
    assert auc(held_out.labels[:, 0].numpy(), dot.numpy()) > 0.75


def test_save_and_load_between_updates_change_nothing(make_ranker_world, tmp_path):
    world = make_ranker_world(rows=300)
    settings = FinetuneSettings(batch_size=64)
    first, second = world.batch.rows(slice(150)), world.batch.rows(slice(150, None))
    half = finetune(TrainState.create(world.ranker(), settings), first, world.items, settings)
    undisturbed = finetune(half, second, world.items, settings)
    half.save(tmp_path / "state")
    torch.manual_seed(999)
    resumed = finetune(TrainState.load(tmp_path / "state", settings), second, world.items, settings)
    assert resumed.step == undisturbed.step == 6
    for name, weight in weights(undisturbed).items():
        assert torch.equal(weight, weights(resumed)[name]), name


def test_finetune_leaves_the_given_state_and_the_global_generator_alone(make_ranker_world):
    world = make_ranker_world(rows=100)
    state = TrainState.create(world.ranker(), FAST)
    before = {name: weight.clone() for name, weight in weights(state).items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    finetune(state, world.batch, world.items, FAST)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(state).items())
    assert state.step == 0


def test_the_average_starts_close_to_the_weights_and_then_lags(make_ranker_world):
    world = make_ranker_world(rows=128)
    settings = FinetuneSettings(batch_size=128)
    start = world.ranker().skip.weight.detach().clone()
    state = finetune(TrainState.create(world.ranker(), settings), world.batch, world.items, settings)
    expected = start.lerp(state.ranker.skip.weight.detach(), 1 - 2 / 11)
    torch.testing.assert_close(state.served().skip.weight.detach(), expected)


def test_rows_of_weight_zero_teach_nothing(make_ranker_world):
    world = make_ranker_world(rows=64)
    settings = FinetuneSettings(weight_decay=0.0)
    silent = dataclasses.replace(world.batch, weight=torch.zeros(64))
    state = TrainState.create(world.ranker(), settings)
    after = finetune(state, silent, world.items, settings)
    assert all(torch.equal(weight, weights(state)[name]) for name, weight in weights(after).items())


def test_an_empty_hour_is_no_update(make_ranker_world):
    world = make_ranker_world(rows=10)
    state = finetune(TrainState.create(world.ranker(), FAST), world.batch.rows(slice(0)), world.items, FAST)
    assert state.step == 0


def test_a_non_finite_loss_names_the_step(make_ranker_world):
    world = make_ranker_world(rows=10)
    poisoned = dataclasses.replace(world.batch, labels=torch.full((10, 2), torch.nan))
    with pytest.raises(FloatingPointError, match="ranker loss is nan at step 0"):
        finetune(TrainState.create(world.ranker(), FAST), poisoned, world.items, FAST)


def test_a_non_finite_gradient_of_a_finite_loss_is_no_update(make_ranker_world, monkeypatch):
    world = make_ranker_world(rows=10)

    def loss(ranker, *_):
        return (ranker.skip.weight.sum() * 0).abs().sqrt()

    monkeypatch.setattr(training, "ranker_loss", loss)
    with pytest.raises(FloatingPointError, match="the gradient of the ranker is nan at step 0"):
        finetune(TrainState.create(world.ranker(), FAST), world.batch, world.items, FAST)


def test_metrics_are_reported_each_step(make_ranker_world):
    world = make_ranker_world(rows=100)
    seen = []
    settings = FinetuneSettings(batch_size=40)
    finetune(
        TrainState.create(world.ranker(), settings),
        world.batch,
        world.items,
        settings,
        lambda s, m: seen.append((s, m)),
    )
    assert [step for step, _ in seen] == [1, 2, 3]
    assert set(seen[0][1]) == {"loss", "gradient_norm"}
