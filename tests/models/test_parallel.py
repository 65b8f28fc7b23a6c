"""Several processes are one: their added gradients and their weights are those of one process on the same mini-batches."""

from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as mp

from models.parallel import ALONE, Group
from models.training import FinetuneSettings, TrainState, finetune

SETTINGS = FinetuneSettings(lr=1e-2, batch_size=64, epochs=1)
ROWS = 301
CASES = ((ROWS, 64), (7, 1))  # shares of a mini-batch differ, the last one is of 45 rows; mini-batches of which one process has no row


@pytest.fixture
def world(make_ranker_world):
    found = make_ranker_world(rows=ROWS)
    return replace(found, config=replace(found.config, dropout=0.0))  # masks depend on the shape of a mini-batch


def finetuned(world, group, rows, batch_size):
    steps, settings = [], replace(SETTINGS, batch_size=batch_size)
    own = world.batch.rows(slice(group.rank, rows, group.size))
    state = TrainState.create(world.ranker(), settings)
    state = finetune(state, own, world.items, settings, lambda _, found: steps.append(found), group, rows)
    return state.ranker.state_dict(), steps


def process(rank, size, world, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    torch.save([finetuned(world, Group(rank, size), *case) for case in CASES], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_end_where_one_ends_on_the_same_mini_batches(world, tmp_path):
    mp.spawn(process, (2, world, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    before = world.ranker().state_dict()
    for case, (weights, steps), (others, _) in zip(CASES, first, second, strict=True):
        alone, alone_steps = finetuned(world, ALONE, *case)
        for name, weight in alone.items():
            assert torch.equal(weights[name], others[name]), f"the processes went apart at {name}"
            torch.testing.assert_close(weights[name], weight, rtol=1e-4, atol=2e-5)
        for own, other in zip(steps, alone_steps, strict=True):
            assert own == pytest.approx(other, rel=1e-3), "loss and gradient norm are of the whole mini-batch"
        assert max((weight - before[name]).abs().max() for name, weight in alone.items()) > 100 * 2e-5, "nothing could go apart"


def test_each_row_belongs_to_one_process_under_the_number_it_has_there():
    rows, index = torch.arange(10) * 11, torch.tensor([7, 2, 9, 4, 0])
    held = [rows[rank::3] for rank in range(3)]
    taken = [held[rank][Group(rank, 3).own(index)].tolist() for rank in range(3)]
    assert taken == [[99, 0], [77, 44], [22]]
    assert Group().own(index) is index
