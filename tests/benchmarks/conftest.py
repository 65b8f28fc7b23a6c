"""Hours of candidates as peers see them."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.ranker.peers.candidates import Candidates


@pytest.fixture
def hour() -> Callable[..., Candidates]:
    """An hour of one set a user with these counters (n, F); items and histories where they are given."""

    def make(name, counters, group=None, item=None, user=None, history=((0, 0),)):
        rows, counted = len(counters), np.array(counters, dtype=float)
        none = np.zeros(rows, dtype=np.int64)
        group, item, user = (none if values is None else np.array(values) for values in (group, item, user))
        return Candidates(name, counted, np.zeros((rows, 4)), group, item, user, np.array(history))

    return make
