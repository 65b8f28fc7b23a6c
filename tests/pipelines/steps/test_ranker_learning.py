"""Hours that were missed are learned as they would have been one by one, each with what came before it."""

import torch

from pipelines.hours import shift
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.ranker_learning import learn
from pipelines.steps.step import Attempt

HOURS = [shift("2026-11-10T08", n) for n in range(4)]


def test_a_catch_up_learns_to_the_bit_what_single_hours_would_have(make_examples_root):
    root = make_examples_root(len(HOURS))
    encoder = encoder_spec(root).version
    reader = example_reader(Attempt(root, "test", [HOURS[-1]]), encoder)
    first = learn(reader, HOURS[:1], None, encoder)
    together = learn(reader, HOURS[1:], first.state, encoder)
    state, fresh, replayed = first.state, [], []
    for hour in HOURS[1:]:
        one = learn(reader, [hour], state, encoder)
        state = one.state
        fresh.append(one.fresh)
        replayed.append(one.replayed)
    assert first.replayed == 0, "the first load teaches alone"
    assert replayed[0] == 0, "nothing but the first load came before it"
    assert all(abs(again - new) <= 1 for again, new in zip(replayed[1:], fresh[1:], strict=True)), "replay_ratio 1"
    assert (together.fresh, together.replayed) == (sum(fresh), sum(replayed)) and together.state.step == state.step
    assert all(torch.equal(a, b) for a, b in zip(together.state.ranker.parameters(), state.ranker.parameters(), strict=True))
    assert all(torch.equal(weight, state.ema_weights[name]) for name, weight in together.state.ema_weights.items())
