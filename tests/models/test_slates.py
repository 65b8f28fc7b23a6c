import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from models.records import SlateLimits
from models.slates import TEMPERATURES, bound_logits, conditional_log_probs, draw, exploring_temperature

free = SlateLimits.none


def gumbel_noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gumbel(size=shape)).float()


def test_propensities_equal_the_definition_on_every_slate(plackett_luce):
    logits = np.array([0.3, -1.2, 2.0, 0.0])
    slates = list(permutations(range(4), 3))
    found = conditional_log_probs(torch.tensor(logits).expand(len(slates), 4), torch.tensor(slates), free(len(slates), 4, 3)).exp().numpy()
    expected = np.array([plackett_luce(logits, slate) for slate in slates])
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.prod(1).sum() == pytest.approx(1.0)


def test_draws_come_as_often_as_their_propensities_say(plackett_luce):
    logits = torch.tensor([0.3, -1.2, 2.0, 0.0])
    n = 60_000
    action, propensity = draw(logits.expand(n, 4), gumbel_noise(n, 4), free(n, 4, 3))
    slates = list(permutations(range(4), 3))
    counts = np.array([(action == torch.tensor(slate)).all(1).sum().item() for slate in slates])
    expected = n * np.array([plackett_luce(logits.numpy(), slate).prod() for slate in slates])
    assert counts.sum() == n
    assert ((counts - expected) ** 2 / expected).sum() < 49.7  # 99.9 % of chi-square with 23 degrees
    assert (propensity.prod(1)[(action == torch.tensor(slates[0])).all(1)] * n).mean() == pytest.approx(
        expected[0], rel=1e-5
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 8), st.floats(0.05, 5.0), st.integers(0, 10_000))
def test_a_draw_has_distinct_valid_items_and_propensities_above_zero(k, masked, temperature, seed):
    count = k + masked
    generator = np.random.default_rng(seed)
    mask = torch.ones(3, count, dtype=torch.bool)
    mask[:, generator.permutation(count)[:masked]] = False
    utility = torch.from_numpy(generator.normal(size=(3, count)) * 100).float()
    logits = bound_logits(utility, mask, temperature)
    action, propensity = draw(logits, gumbel_noise(3, count, seed=seed), free(3, count, k))
    assert all(len(set(row)) == k for row in action.tolist())
    assert mask.gather(1, action).all()
    assert ((propensity > 0) & (propensity <= 1)).all()
    spread = logits.masked_fill(~mask, torch.inf)
    assert (logits.amax(1) - spread.amin(1) <= 7.0 + 1e-5).all()


def test_positions_beyond_the_valid_candidates_have_propensity_zero():
    logits = torch.tensor([[1.0, -torch.inf, 0.0, -torch.inf]])
    action, propensity = draw(logits, gumbel_noise(1, 4), free(1, 4, 3))
    assert set(action[0, :2].tolist()) == {0, 2}
    assert propensity[0, 1] == 1 and propensity[0, 2] == 0


def test_padding_below_a_position_does_not_touch_it():
    logits = gumbel_noise(1, 5)
    full = conditional_log_probs(logits, torch.tensor([[3, 1, 0, 4]]), free(1, 5, 4))
    padded = conditional_log_probs(logits, torch.tensor([[3, 1, 3, 3]]), free(1, 5, 4))
    torch.testing.assert_close(full[:, :2], padded[:, :2])
    assert torch.isneginf(padded[:, 2:]).all()


def test_gradients_are_finite_where_every_candidate_is_taken():
    logits = torch.tensor([[2.0, -torch.inf, 50.0]], requires_grad=True)
    log_probs = conditional_log_probs(logits, torch.tensor([[2, 0, 1]]), free(1, 3, 3))
    torch.where(torch.isfinite(log_probs), log_probs, torch.zeros(())).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_bound_logits_ignore_masked_values_and_equal_utilities():
    mask = torch.tensor([[True, True, False]])
    first = bound_logits(torch.tensor([[1.0, 2.0, torch.nan]]), mask, 0.5)
    torch.testing.assert_close(first, torch.tensor([[-2.0, 2.0, -torch.inf]]))
    equal = bound_logits(torch.full((1, 3), 4.0), mask, 0.5)
    torch.testing.assert_close(equal, torch.tensor([[0.0, 0.0, -torch.inf]]))


def test_a_slate_longer_than_the_candidates_is_refused():
    with pytest.raises(ValueError, match="needs at least 4 candidate columns, found 3"):
        draw(torch.zeros(1, 3), torch.zeros(1, 3), free(1, 3, 4))


def limited(logits, category, cap, pinned):
    """All slates of 3 that may be drawn and the chance of each, by the definition."""
    found = {}
    for slate in permutations(range(len(logits)), 3):
        chance = 1.0
        for k, item in enumerate(slate):
            used = [category[above] for above in slate[:k]]
            open_ = [
                n for n in range(len(logits))
                if n not in slate[:k] and n not in pinned and (category[n] < 0 or used.count(category[n]) < cap)
            ]  # fmt: skip
            open_ = [pinned[k]] if pinned[k] >= 0 else open_
            chance *= math.exp(logits[item]) / sum(math.exp(logits[n]) for n in open_) if item in open_ else 0.0
        if chance:
            found[slate] = chance
    return found


@pytest.mark.parametrize("pinned", [(-1, -1, -1), (4, -1, -1), (-1, -1, 2)])
def test_full_categories_and_pins_are_part_of_the_draw(pinned):
    """One of category 0 and one of category 1 at most; what has none is free."""
    logits, category, n = [1.0, 0.5, -0.5, 0.0, 2.0], [0, 0, 1, 1, -1], 40_000
    expected = limited(logits, category, 1, pinned)
    assert sum(expected.values()) == pytest.approx(1.0)
    limits = SlateLimits(torch.tensor(category).expand(n, 5), torch.ones(n, 5, dtype=torch.int64), torch.tensor(pinned).expand(n, 3))
    action, propensity = draw(torch.tensor(logits).expand(n, 5), gumbel_noise(n, 5), limits)
    counts = Counter(map(tuple, action.tolist()))
    assert set(counts) <= set(expected)
    chi_square = sum((counts[slate] - n * chance) ** 2 / (n * chance) for slate, chance in expected.items())
    assert chi_square < chi2.ppf(0.999, max(1, len(expected) - 1))
    for slate, chance in zip(action[:200].tolist(), propensity[:200].prod(1).tolist(), strict=True):
        assert chance == pytest.approx(expected[tuple(slate)], abs=1e-6)
    if pinned[0] >= 0:
        assert (action[:, 0] == pinned[0]).all() and (propensity[:, 0] == 1).all()


def test_a_slate_ends_where_every_category_is_full():
    limits = SlateLimits(torch.zeros(1, 4, dtype=torch.int64), torch.full((1, 4), 2), torch.tensor([[-1, -1, -1, 3]]))
    _, propensity = draw(torch.zeros(1, 4), gumbel_noise(1, 4), limits)
    assert (propensity[0] > 0).tolist() == [True, True, False, False]


def test_what_a_rule_forbids_has_no_chance_in_another_policy_either():
    limits = SlateLimits(torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3, dtype=torch.int64), torch.full((1, 2), -1))
    assert torch.isneginf(conditional_log_probs(torch.zeros(1, 3), torch.tensor([[0, 1]]), limits)[0, 1])


def test_the_solved_temperature_costs_what_it_may_and_a_higher_one_more():
    generator = torch.Generator().manual_seed(1)
    utility, mask = torch.randn(300, 40, generator=generator) - 2.0, torch.rand(300, 40, generator=generator) < 0.8
    reward = utility.sigmoid()

    def cost(temperature: float) -> float:
        """By the definition, with other noise: share of the best slates' expected reward that is lost."""
        repeated = [part.repeat(20, 1) for part in (utility, reward, mask)]
        logits = bound_logits(repeated[0], repeated[2], temperature)
        action, _ = draw(logits.double(), gumbel_noise(6000, 40, seed=5).double(), free(6000, 40, 5))
        known = repeated[1].masked_fill(~repeated[2], 0)
        return 1 - (known.gather(1, action).sum() / known.topk(5).values.sum()).item()

    for allowed in (0.1, 0.2):
        found, said = exploring_temperature(utility, reward, mask, 5, allowed)
        assert said <= allowed and said == pytest.approx(cost(found), abs=0.01)
        assert cost(TEMPERATURES[TEMPERATURES.index(found) + 1]) > allowed - 0.01
    flat = torch.full_like(reward, 0.1)
    bound, free_of_it = (exploring_temperature(utility, flat, mask, 5, 0.1, highest=highest)[0] for highest in (0.25, 1.4))
    assert bound <= 0.25 < free_of_it
    cheapest, said = exploring_temperature(utility, reward, mask, 5, 1e-6)
    assert said == pytest.approx(min(cost(one) for one in TEMPERATURES), abs=0.01) and said > 1e-6
    assert cheapest > TEMPERATURES[0], "the logit range makes the lowest temperature no greedier"
