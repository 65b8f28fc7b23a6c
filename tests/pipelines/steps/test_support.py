"""What a release would show that the log could not have shown: nothing of its own, and what is counted by hand of another's."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from models.artifacts import load_ranker
from pipelines.registry.releases import release_folder
from pipelines.steps.support import Support
from spark_jobs.release import load_release

REWARDS = (0.2, 1.0, 0.5)


@pytest.fixture
def production(settings, champion):
    return load_release(release_folder(settings, champion.release_id), champion.release_id, REWARDS)


def of(log, candidates=None):
    """The support of all slates; ``candidates``: what is said to have been logged."""
    if candidates is not None:
        decisions = log.slates.decisions
        column = decisions.column_names.index("candidates")
        changed = decisions.set_column(column, "candidates", pa.array(candidates, decisions["candidates"].type))
        log = replace(log, slates=replace(log.slates, decisions=changed))
    return Support(log.settings, log.reader(np.ones(len(log.slates), dtype=bool)))


def test_what_drew_the_log_shows_nothing_else(log, production):
    assert not of(log).outside(production).any(), "the same retrieval from the features of the draw"


def test_the_share_of_positions_that_were_no_candidates_is_counted(log, production):
    """Of every slate the first shown item is taken out of its candidates: a third of its three positions."""
    decisions = log.slates.decisions.to_pylist()
    kept = [[item for item in row["candidates"] if item != row["candidates"][row["action"][0]]] for row in decisions]
    assert of(log, kept).outside(production) == pytest.approx(np.full(len(decisions), 1 / 3))


def test_another_ranker_takes_others(log, production, settings, champion):
    ranker = load_ranker(release_folder(settings, champion.release_id) / "ranker")
    torch.manual_seed(4)
    with torch.no_grad():
        for weight in ranker.parameters():
            weight.add_(torch.randn_like(weight))
    shares = of(log).outside(replace(production, ranker=ranker.eval()))
    assert 0.1 < shares.mean() < 1.0 and set(np.round(shares * 3).tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_slates_of_the_release_are_asked_and_without_any_those_of_the_newest_hour(log, champion):
    own, none = (log.supporting(name, gate=False, at_most=100) for name in (champion.release_id, "r000099"))
    assert len(own.shown) == len(none.shown) > 30
    gate = log.supporting(champion.release_id, gate=True, at_most=100)
    assert len(own.shown) + len(gate.shown) == 60 and len(log.supporting(champion.release_id, gate=False, at_most=7).shown) == 7
