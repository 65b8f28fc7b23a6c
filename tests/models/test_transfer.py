"""A new domain begins with what another one learned."""

import dataclasses

import numpy as np
import pytest
import torch

from models.metrics import auc
from models.ranker import Ranker
from models.training import FinetuneSettings, TrainState, finetune
from models.transfer import transferred

SETTINGS = FinetuneSettings(lr=1e-2, batch_size=64, epochs=8, ema=0.9)


def learned(world, ranker, rows):
    return finetune(TrainState.create(ranker, SETTINGS), world.batch.rows(slice(0, rows)), world.items, SETTINGS).served()


def figure(world, ranker):
    """AUC of the first task on the last 300 rows."""
    rest = world.batch.rows(slice(-300, None))
    with torch.no_grad():
        return auc(rest.labels[:, 0].numpy(), ranker(rest, world.items)[:, 0].numpy())


def test_every_feature_has_a_name_of_its_own(make_ranker_world):
    world = make_ranker_world()
    for config in (world.config, dataclasses.replace(world.config, relevance="co_purchase")):
        ranker = Ranker(config)
        for name, columns in ranker.input_columns().items():
            assert ranker.get_parameter(name).shape[1] == len(columns) == len(set(columns)), name


def test_a_few_examples_of_a_new_domain_go_further_with_what_another_one_taught(make_ranker_world):
    """Other items, other topics, another task and another counter; what fits is still what is like one's history."""
    old, new = make_ranker_world(rows=1500, seed=1), make_ranker_world(rows=400, seed=2)
    config = dataclasses.replace(new.config, tasks=("buy", "like"), item_counters=("shows", "likes"))
    taught, figures = learned(old, old.ranker(), 1500), []
    for seed in range(4):
        torch.manual_seed(seed)
        fresh = Ranker(config)
        fresh.fit_statistics(new.batch.rows(slice(0, 20)), new.items)
        begun = transferred(taught, fresh.eval())
        figures.append([figure(new, ranker) for ranker in (begun, fresh, learned(new, begun, 20), learned(new, fresh, 20))])
    begun, fresh, further, from_nothing = np.array(figures).T
    assert begun.min() > 0.8 and begun.mean() > fresh.mean() + 0.15, "before the new domain taught anything"
    assert further.min() > 0.95 and further.mean() > from_nothing.mean() + 0.02


def test_what_is_matched_by_name_what_stays_and_what_is_silent(make_ranker_world):
    world = make_ranker_world(rows=200)
    source = world.ranker()
    torch.nn.init.normal_(source.position_term)
    config = dataclasses.replace(world.config, tasks=("share", "buy"), item_counters=("shows", "new", "clicks"))
    target = Ranker(config)
    silent = torch.tensor([1.0, 1.0, 0.0])  # nobody has clicked yet
    counters = torch.cat([world.batch.item_counters[:, [1, 0]], world.batch.item_counters[:, :1]], 1) * silent
    target.fit_statistics(dataclasses.replace(world.batch, item_counters=counters), world.items)
    found = transferred(source, target)
    theirs, own = source.input_columns()["skip.weight"], found.input_columns()["skip.weight"]
    skip, before = found.skip.weight, target.skip.weight
    assert torch.equal(skip[1, own.index("item shows")], source.skip.weight[1, theirs.index("item shows")])
    assert torch.equal(skip[0, own.index("item shows")], source.skip.weight[0, theirs.index("item shows")]), "of an unknown task the first"
    assert torch.equal(skip[:, own.index("item new")], before[:, own.index("item new")])
    assert not skip[:, own.index("item clicks")].any() and not found.bottom[0].weight[:, own.index("item clicks")].any()
    assert torch.equal(found.skip.bias, target.skip.bias) and torch.equal(found.tower_bias, target.tower_bias)
    assert not found.position_term[:, 0].any() and torch.equal(found.position_term[:, 1], source.position_term[:, 1])
    assert torch.equal(found.text.linear.weight, source.text.linear.weight)
    assert torch.equal(found.item_numbers.mean, target.item_numbers.mean) and torch.equal(found.text.center, target.text.center)
    assert torch.equal(target.skip.weight, before), "the given ranker stays as it is"


@pytest.mark.parametrize(("name", "value"), [("dim", 4), ("hidden", 8), ("encoder_version", "other")])
def test_other_sizes_and_encoders_are_refused(make_ranker_world, name, value):
    world = make_ranker_world(rows=50)
    other = dataclasses.replace(world, config=dataclasses.replace(world.config, **{name: value}))
    with pytest.raises(ValueError, match=f"the source's {name} is"):
        transferred(world.ranker(), Ranker(other.config))
