"""Learning on every device that this machine has: the bits repeat, and a GPU ends where the CPU ends."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as mp

from models.devices import learning_device, process_backend
from models.parallel import Group
from models.policies.base import PolicyConfig, RefreshSettings
from models.policies.learners import LEARNERS, make_policy
from models.policies.refresh import all_logits, refresh_policy
from models.training import FinetuneSettings, TrainState, finetune

CPU = torch.device("cpu")
DEVICES = [CPU, *(torch.device("cuda", number) for number in range(torch.cuda.device_count()))]
SETTINGS = FinetuneSettings(lr=1e-3, batch_size=64)


@pytest.fixture(params=DEVICES, ids=str)
def device(request):
    return request.param


def test_the_last_device_is_where_models_learn_unless_it_is_hidden():
    assert learning_device().type == DEVICES[-1].type
    assert process_backend() == ("nccl" if len(DEVICES) > 1 else "gloo")
    code = "from models.devices import *; print(learning_device(), process_backend())"
    hidden = subprocess.run([sys.executable, "-c", code], env={"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, check=True)
    assert hidden.stdout.split() == ["cpu", "gloo"]


def of(state):
    return {**state.ranker.state_dict(), **{f"ema.{name}": weight for name, weight in state.ema_weights.items()}}


def test_updates_in_two_parts_over_the_disk_are_the_updates_in_one_to_the_bit(make_ranker_world, tmp_path, device):
    world = make_ranker_world(rows=640)
    first, second = (world.batch.rows(part) for part in (slice(320), slice(320, None)))
    half = finetune(TrainState.create(world.ranker(), SETTINGS), first, world.items, SETTINGS, device=device)
    whole = finetune(half, second, world.items, SETTINGS, device=device)
    half.save(tmp_path / "state")
    resumed = finetune(TrainState.load(tmp_path / "state", SETTINGS), second, world.items, SETTINGS, device=device)
    for name, weight in of(whole).items():
        assert weight.device == CPU
        assert torch.equal(weight, of(resumed)[name]), name


def test_a_pass_ends_where_the_cpu_ends(make_ranker_world, device):
    world = make_ranker_world(rows=640)
    world = replace(world, config=replace(world.config, dropout=0.0))  # its masks are another generator's on a GPU
    start, found = TrainState.create(world.ranker(), SETTINGS), {}
    for where in (CPU, device):
        steps = []
        state = finetune(start, world.batch, world.items, SETTINGS, lambda _, one, steps=steps: steps.append(one["loss"]), device=where)
        found[where] = steps, of(state)
    assert found[device][0] == pytest.approx(found[CPU][0], rel=1e-4)
    moved = max((weight - of(start)[name]).abs().max() for name, weight in found[CPU][1].items())
    for name, weight in found[CPU][1].items():
        torch.testing.assert_close(found[device][1][name], weight, rtol=1e-3, atol=0.02 * float(moved))


@pytest.mark.parametrize("learner", [name for name in LEARNERS if name != "topk_independent"])
def test_a_refresh_repeats_to_the_bit_and_ends_where_the_cpu_ends(make_slate_world, learner, device):
    slates = make_slate_world(users=20, per_user=20).slates
    policy = make_policy(PolicyConfig(user_dim=2, candidate_dim=2, hidden=16, temperature=1.0, learner=learner))
    near = RefreshSettings(steps=20, kl_limit=0.05, kl_p99_limit=0.5)
    once, report = refresh_policy(policy, slates, near, policy, device=device)
    again, _ = refresh_policy(policy, slates, near, policy, device=device)
    on_cpu, expected = refresh_policy(policy, slates, near, policy, device=CPU)
    for name, tensor in once.state_dict().items():
        assert tensor.device == CPU and torch.equal(tensor, again.state_dict()[name]), name
    torch.testing.assert_close(all_logits(once, slates), all_logits(on_cpu, slates), rtol=1e-3, atol=1e-3)
    assert report.kl_mean == pytest.approx(expected.kl_mean, rel=0.02, abs=1e-6)


def process(rank, size, world, folder, device):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    own, group = world.batch.rows(slice(rank, None, size)), Group(rank, size)
    state = TrainState.create(world.ranker(), SETTINGS)
    torch.save(of(finetune(state, own, world.items, SETTINGS, group=group, rows=len(world.batch), device=device)), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_that_share_a_device_stay_together(make_ranker_world, tmp_path, device):
    mp.spawn(process, (2, make_ranker_world(rows=200), tmp_path, device), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
