"""A new ranker goes as far from production as the log can judge, and no further."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from models.artifacts import load_ranker
from pipelines.registry.releases import release_folder
from pipelines.steps.reach import SLATES, Reached, served


@pytest.fixture
def reached(settings, log, champion, by):
    learned = load_ranker(release_folder(settings, champion.release_id) / "ranker")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in learned.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)

    def answer(reach, least_effective=0, least_value=-math.inf, outside=1.0, **other):
        policy = settings.policy.model_copy(update={"reach": reach, "least_effective": least_effective, "outside": outside})
        own = settings.model_copy(update={"policy": policy})
        given = {"log": replace(log, settings=own), "champion": champion} | other
        return served(own, given["log"], copy.deepcopy(learned), given["champion"], by, least_value), learned

    return answer


def test_without_a_limit_the_learned_ranker_is_served(reached):
    found, learned = reached(reach=1e6)
    assert found.share == 1.0 and found.kl > 0.05 and 0 < found.effective < 1
    for name, weight in found.ranker.named_parameters():
        assert torch.allclose(weight, dict(learned.named_parameters())[name], atol=1e-6), name


def test_the_limit_is_kept_and_nearly_used(reached):
    whole, _ = reached(reach=1e6)
    half, _ = reached(reach=whole.kl / 2)
    tenth, _ = reached(reach=whole.kl / 10)
    assert tenth.kl <= whole.kl / 10 and whole.kl / 4 < half.kl <= whole.kl / 2
    assert 0 <= tenth.share < half.share < whole.share == 1.0


def test_more_evidence_than_the_log_has_leaves_production(reached):
    found, _ = reached(reach=1e6, least_effective=10_000)
    assert found.share == 0.0


def test_enough_evidence_is_kept_for_judging(reached, log):
    slates = len(log.judging().shown)
    whole, _ = reached(reach=1e6)
    least = round(slates * (1 + whole.effective) / 2)
    found, _ = reached(reach=1e6, least_effective=least)
    assert found.share < 1.0 and found.effective * slates >= least


def test_what_the_log_could_not_have_shown_bounds_the_step(reached):
    whole, _ = reached(reach=1e6)
    assert whole.outside > 0.05
    less, _ = reached(reach=1e6, outside=whole.outside / 2)
    assert less.share < 1.0 and less.outside <= whole.outside / 2
    none, _ = reached(reach=1e6, outside=0.0)
    assert none.share <= less.share and none.outside < 0.02, "production's own, as it is calibrated now"


def test_what_the_gate_could_not_tell_from_worse_is_not_tried(reached, log):
    whole, _ = reached(reach=1e6)
    here, there = len(log.learning(SLATES, whole_users=True).shown), len(log.judging().shown)
    low = whole.expected_low(here, there)
    assert reached(reach=1e6, least_value=low - 1e-6)[0].share == 1.0
    less, _ = reached(reach=1e6, least_value=low + 1e-6)
    assert less.share < 1 and (less.share == 0 or less.expected_low(here, there) > low + 1e-6)


def test_an_interval_is_expected_by_the_number_of_slates_and_half_of_the_gain():
    found = Reached(None, 0.5, gain=0.2, below=0.06)
    assert found.expected_low(400, 100) == pytest.approx(0.1 - 0.12) and found.expected_low(100, 400) == pytest.approx(0.1 - 0.03)
    assert Reached(None, 0.5, gain=-0.2, below=0.06).expected_low(100, 100) == pytest.approx(-0.26), "a loss counts whole"


def test_where_nothing_was_logged_there_is_no_limit(reached):
    for missing in ({"log": None}, {"champion": None}):
        found, learned = reached(reach=0.001, **missing)
        assert found.share == 1.0
        assert all(torch.equal(a, b) for a, b in zip(found.ranker.parameters(), learned.parameters(), strict=True))


def test_the_log_holds_every_slate_as_drawn(log):
    assert len(log.slates) == 60 and log.slates.shown.all() and log.mismatched == 0
