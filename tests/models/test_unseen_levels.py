"""A ranker of a log that knew small counts and no young item still orders by what it learned where counts are large and items are new."""

import pytest
import torch

from models.metrics import auc
from models.ranker import Ranker, RankerConfig
from models.records import ItemTable, RankerBatch, UserState
from models.training import FinetuneSettings, TrainState, finetune
from models.unseen_levels import LARGEST, SHARE, at_unseen_levels

NAMES = ("clicks_24h", "reward_24h", "click_rate_24h")
ITEMS, WIDTH = 60, 8


def log(rows, seed, times=1.0, young=False):
    """Clicks depend on the item's text, and in a log of weeks on counts and age as well; ``times``: how much larger the counts are."""
    generator = torch.Generator().manual_seed(seed)
    item = torch.randint(1, ITEMS + 1, (rows,), generator=generator)
    counters = torch.cat([torch.rand(rows, 2, generator=generator) * 20 * times, torch.rand(rows, 1, generator=generator)], 1)
    age = torch.rand(rows, generator=generator) * (20 if young else 900) + (0 if young else 48)
    logit = torch.where(item % 2 == 0, 1.0, -1.5)
    if not young:
        logit = logit + 0.1 * (counters[:, 0] - 10) * torch.sin(counters[:, 1]) - 0.004 * (age - 500)
    label = (torch.rand(rows, generator=generator) < logit.sigmoid()).float().unsqueeze(1)
    users = UserState(torch.rand(rows, 3, generator=generator) * 9 * times, torch.zeros(rows, 4, dtype=torch.int64), torch.zeros(rows, 4),
                      torch.zeros(rows, 4))  # fmt: skip
    none = torch.zeros(rows, dtype=torch.int64)
    return RankerBatch(users, item, counters, age, torch.zeros(rows, 1), none, label, torch.ones(rows), none)


def texts():
    vectors = torch.randn(ITEMS + 1, WIDTH, generator=torch.Generator().manual_seed(5))
    vectors[::2, 0] += 3.0
    vectors[0] = 0
    return ItemTable.of_texts(vectors)


def joined(first, second):
    both = [RankerBatch.__dataclass_fields__, UserState.__dataclass_fields__]
    user = UserState(*(torch.cat([getattr(first.user, n), getattr(second.user, n)]) for n in both[1]))
    return RankerBatch(user, *(torch.cat([getattr(first, n), getattr(second, n)]) for n in both[0] if n != "user"))


def trained(batch, taught, items):
    config = RankerConfig(NAMES, NAMES, ("pair",), ("click",), "v", WIDTH, dim=4, hidden=16, history=4)
    torch.manual_seed(2)
    ranker = Ranker(config)
    ranker.fit_statistics(batch, items)
    learning = FinetuneSettings(lr=3e-3, epochs=6, batch_size=256)
    return finetune(TrainState.create(ranker, learning), taught, items, learning).served()


def test_other_levels_of_the_same_examples():
    batch = log(4000, 1)
    again = at_unseen_levels(batch, NAMES, seed=3)
    assert len(again) == pytest.approx(SHARE * 4000, rel=0.1)
    assert again.item_age_h.max() <= batch.item_age_h.quantile(0.01) and again.item_age_h.min() >= 0
    assert again.item_counters[:, 2].max() <= 1.0, "a rate is no count"
    assert 30 < again.item_counters[:, 0].max() / batch.item_counters[:, 0].max() <= LARGEST
    assert abs(again.labels.mean() - batch.labels.mean()) < 0.05
    same = at_unseen_levels(batch, NAMES, seed=3)
    assert torch.equal(again.item_age_h, same.item_age_h) and torch.equal(again.user.counters, same.user.counters)
    assert len(at_unseen_levels(batch.rows(slice(0, 0)), NAMES, seed=3)) == 0


@pytest.mark.parametrize("seed", [4, 6])
def test_what_was_learned_holds_at_levels_that_the_log_did_not_have(seed):
    batch, items, live = log(6000, seed), texts(), log(4000, seed + 1, times=80.0, young=True)
    found = {}
    for name, taught in (("without", batch), ("with", joined(batch, at_unseen_levels(batch, NAMES, seed=3)))):
        ranker = trained(batch, taught, items)
        with torch.no_grad():
            found[name] = [auc(part.labels[:, 0].numpy(), ranker(part, items)[:, 0].numpy()) for part in (batch, live)]
    assert found["with"][0] > found["without"][0] - 0.01, "nothing is lost where the log is"
    assert found["with"][1] > found["without"][1] + 0.004
