"""Levels of counters and ages that a first load does not hold and live hours do: examples that say nothing of them.

A log of what people took to knows hundreds of events where live hours count millions of showings, and often nothing of items that are
younger than a day. A network that never saw such inputs answers there whatever its weights happen to give; one that saw them beside every
label answers what it knows of the rest, until live hours teach better.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.records import RankerBatch

SHARE = 0.4  # of the examples that are repeated at levels which they did not have
LARGEST = 100.0  # times the counters of the log
YOUNG = 0.01  # quantile of the ages of the log: below it, it says little


def at_unseen_levels(batch: RankerBatch, counters: Sequence[str], seed: int) -> RankerBatch:
    """A SHARE of the examples with other levels: all of an item's counters, and all of a user's, times a factor of 1 to LARGEST, and an age
    below the YOUNG quantile of all ages. Labels and everything else stay. ``counters``: names of the columns; rates stay.
    """
    generator = torch.Generator().manual_seed(seed)
    again = batch.rows(torch.rand(len(batch), generator=generator) < SHARE)
    count = torch.tensor(["_rate_" not in name for name in counters])
    user, item = (_scaled(part, count, generator) for part in (again.user.counters, again.item_counters))
    young = batch.item_age_h[:: max(1, len(batch) // 1_000_000)].quantile(YOUNG) if len(batch) else torch.zeros(())
    age = torch.expm1(torch.rand(len(again), generator=generator) * young.log1p())
    return replace(again, user=replace(again.user, counters=user), item_counters=item, item_age_h=age)


def _scaled(counters: Tensor, count: Tensor, generator: torch.Generator) -> Tensor:
    """(n, C) with the columns of counts, not those of rates, times a factor a row, even on the scale of logarithms."""
    factor = torch.exp(torch.rand(len(counters), 1, generator=generator) * math.log(LARGEST))
    return torch.where(count, counters * factor, counters)
