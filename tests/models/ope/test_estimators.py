"""Each estimator on three rows worked by hand, and on worlds whose every outcome can be enumerated."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from models.ope import Evaluation, LoggedActions, LoggedSlateArrays, item_position_marginals, verdict
from models.ope.estimators import OF_ACTIONS, OF_SLATES, Knobs

ONES = np.ones(3)


@pytest.fixture
def three() -> LoggedActions:
    """Weights 2, 0.5 and 4; residuals 0.5, -0.25 and 0.75."""
    return LoggedActions(
        reward=np.array([1.0, 0.0, 1.0]), propensity=np.array([0.25, 0.5, 0.125]), target_propensity=np.array([0.5, 0.25, 0.5]),
        user=np.array([0, 1, 2]), predicted=np.array([0.5, 0.25, 0.25]), expected=np.array([0.4, 0.3, 0.5]),
    )  # fmt: skip


BY_HAND = {
    "ipw": 6 / 3, "snipw": 6 / 6.5, "direct_method": 1.2 / 3, "doubly_robust": (1.2 + 1.0 - 0.125 + 3.0) / 3,
    "sndr": 1.2 / 3 + 3.875 / 6.5, "switch_dr": (1.2 + 1.0 - 0.125) / 3,
    "dr_os": (1.2 + 0.5 * 4 * 2 / (4 + 4) - 0.25 * 4 * 0.5 / (0.25 + 4) + 0.75 * 4 * 4 / (16 + 4)) / 3,
}  # fmt: skip


@pytest.mark.parametrize("name", OF_ACTIONS)
def test_three_rows_by_hand(three, name):
    evaluation = Evaluation(name, knobs=Knobs(switch=3, shrink=4))
    evaluation.add(three)
    found = evaluation.result(resamples=10)
    assert found.values[name].mean == pytest.approx(BY_HAND[name])
    assert found.differences[name].mean == pytest.approx(BY_HAND[name] - 2 / 3) and found.earned.mean == pytest.approx(2 / 3)
    assert (found.rows, found.users, found.max_importance_weight) == (3, 3, 4)
    assert found.effective_sample_size == pytest.approx(6.5**2 / 20.25) and found.mean_weight == pytest.approx(6.5 / 3)


def test_a_clip_cuts_weights_and_counts_them(three):
    evaluation = Evaluation("ipw", "doubly_robust", knobs=Knobs(clip=2))
    evaluation.add(three)
    found = evaluation.result(resamples=10)
    assert found.values["ipw"].mean == pytest.approx(4 / 3) and found.clipped_fraction == pytest.approx(1 / 3)
    assert found.values["doubly_robust"].mean == pytest.approx((1.2 + 1.0 - 0.125 + 1.5) / 3)


def test_under_a_clip_rewards_count_from_the_lowest_up(three):
    """Weights 2, 0.5 and 2 of 4, rewards 1, -1 and -3: each is worth 3 more, and the value 3 less."""
    log = replace(three, reward=np.array([1.0, -1.0, -3.0]))
    evaluation = Evaluation("ipw", knobs=Knobs(clip=2))
    for part in (log, replace(log, reward=np.zeros(3))):
        evaluation.add(part)
    assert evaluation.result(resamples=10).values["ipw"].mean == pytest.approx((2 * 4 + 0.5 * 2 + 2 * 0 + 4.5 * 3) / 6 - 3)


@pytest.mark.parametrize("name", ["sips", "rips", "iips"])
def test_a_clip_raises_no_value_of_slates_whatever_is_paid(name):
    """Two items, two positions; the second item is hidden by people, which costs; the target shows it first four times as often."""
    drawn = np.repeat([0, 1], [8, 2])  # the item on top, as often as it is drawn there
    chance, other = (np.repeat(np.where(drawn == 0, *ways)[:, None], 2, 1) for ways in ((0.8, 0.2), (0.2, 0.8)))
    certain = np.stack([np.zeros(10), np.ones(10)], 1) > 0  # of two items the first one settles the second
    log = LoggedSlateArrays(
        reward=np.stack([np.where(drawn == 1, -2.0, 0.0), np.where(drawn == 0, -1.0, 0.0)], 1), shown=np.ones((10, 2), dtype=bool),
        propensity=np.where(certain, 1.0, chance), target_propensity=np.where(certain, 1.0, other), user=np.arange(10),
        marginal=chance, target_marginal=other,
    )  # fmt: skip
    value = {}
    for clip in (np.inf, 2.0):
        evaluation = Evaluation(name, knobs=Knobs(clip=clip))
        evaluation.add(log)
        value[clip] = evaluation.result(resamples=10).values[name].mean
    assert value[np.inf] == pytest.approx(0.2 * -1 + 0.8 * -2)
    assert value[2.0] <= value[np.inf] + 1e-12


def test_slates_by_hand():
    """One slate of two shown positions, one of a single one; weights 2 and 3, 0.5."""
    log = LoggedSlateArrays(
        reward=np.array([[1.0, 2.0], [4.0, 9.0]]), propensity=np.array([[0.25, 0.2], [0.5, np.nan]]),
        target_propensity=np.array([[0.5, 0.6], [0.25, np.nan]]), shown=np.array([[True, True], [True, False]]), user=np.array([0, 1]),
        marginal=np.array([[0.25, 0.1], [0.5, np.nan]]), target_marginal=np.array([[0.5, 0.15], [0.25, np.nan]]),
        predicted=np.array([[2.5, 1.5], [3.0, np.nan]]), expected=np.array([[2.0, 1.0], [2.5, np.nan]]),
    )  # fmt: skip
    by_hand = {
        "sips": (6 * 3 + 0.5 * 4) / 2, "iips": (2 * 1 + 1.5 * 2 + 0.5 * 4) / 2, "rips": (2 * 1 + 6 * 2 + 0.5 * 4) / 2,
        "cascade_dr": ((2 * -1.5 + 2.0) + (6 * 0.5 + 2 * 1.0) + (0.5 * 1.0 + 2.5)) / 2,
    }  # fmt: skip
    evaluation = Evaluation(*OF_SLATES)
    evaluation.add(log)
    found = evaluation.result(resamples=10)
    assert {name: interval.mean for name, interval in found.values.items()} == pytest.approx(by_hand)
    assert found.earned.mean == (3 + 4) / 2 and found.max_importance_weight == pytest.approx(6)


def plackett_luce(logits, slate):
    """Probability of each item given those above it."""
    rates, left, found = np.exp(logits), np.exp(logits).sum(), []
    for item in slate:
        found.append(rates[item] / left)
        left -= rates[item]
    return found


@pytest.mark.parametrize("scale", [1.0, 4.0, 7.0])
def test_marginals_are_those_of_all_slates_enumerated(scale):
    logits = np.random.default_rng(2).uniform(0, scale, 6)
    logits[0], logits[1], logits[5] = 0, scale, -np.inf
    chance = np.zeros((5, 3))
    for slate in permutations(range(5), 3):
        for position, item in enumerate(slate):
            chance[item, position] += np.prod(plackett_luce(logits, slate))
    slates = np.array([[item] * 3 for item in range(6)])
    found = item_position_marginals(np.tile(logits, (6, 1)), slates)
    np.testing.assert_allclose(found[:5], chance, atol=1e-7)
    assert (found[5] == 0).all()
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-7)


BEHAVIOR, TARGET = np.array([0.5, 1.0, 0.0, -0.5]), np.array([0.0, 0.5, 1.5, 0.0])
WORTH = np.array([0.2, 0.5, 0.8, 0.1])


def enumerated(reward_of):
    """All slates of two of four items, each as one row; the chance of each under both policies."""
    slates = list(permutations(range(4), 2))
    both = {name: np.array([plackett_luce(logits, slate) for slate in slates]) for name, logits in (("b", BEHAVIOR), ("t", TARGET))}
    tiled = {name: np.tile(logits, (len(slates), 1)) for name, logits in (("b", BEHAVIOR), ("t", TARGET))}
    reward = np.array([reward_of(slate) for slate in slates])
    left = [np.delete(np.exp(TARGET), first) / np.delete(np.exp(TARGET), first).sum() for first, _ in slates]
    second = np.array([(np.delete(WORTH, first) * p).sum() for (first, _), p in zip(slates, left, strict=True)])
    log = LoggedSlateArrays(
        reward, both["b"], both["t"], np.ones_like(reward, dtype=bool), np.arange(len(slates)),
        item_position_marginals(tiled["b"], np.array(slates)), item_position_marginals(tiled["t"], np.array(slates)),
        predicted=np.array([[WORTH[a] + 0.3, WORTH[b]] for a, b in slates]) * 1.3,
        expected=np.stack([np.full(len(slates), np.exp(TARGET) @ (WORTH + 0.3) / np.exp(TARGET).sum()), second], 1) * 1.3,
    )  # fmt: skip
    return log, both["b"].prod(1), (both["t"].prod(1) * reward.sum(1)).sum()


WORLDS = {
    "own position alone": (lambda slate: [WORTH[slate[0]], 0.5 * WORTH[slate[1]]], ("sips", "iips", "rips", "cascade_dr")),
    "from the top": (lambda slate: [WORTH[slate[0]], WORTH[slate[1]] * WORTH[slate[0]]], ("sips", "rips", "cascade_dr")),
    "the whole slate": (lambda slate: [WORTH[slate[0]] * WORTH[slate[1]], WORTH[slate[1]] * WORTH[slate[0]]], ("sips",)),
}


@pytest.mark.parametrize(("world", "name"), list(product(WORLDS, OF_SLATES)))
def test_a_slate_estimator_is_right_on_average_where_its_assumption_holds_and_only_there(world, name):
    reward_of, right = WORLDS[world]
    log, chance, truth = enumerated(reward_of)
    ((values, _),) = OF_SLATES[name](log, Knobs())
    on_average = float(chance @ values)
    assert (on_average == pytest.approx(truth, abs=1e-9)) == (name in right), (on_average, truth)


@pytest.mark.parametrize("name", ["ipw", "doubly_robust"])
def test_an_estimator_of_actions_is_right_on_average_whatever_the_model_says(name):
    behavior, target = np.exp(BEHAVIOR) / np.exp(BEHAVIOR).sum(), np.exp(TARGET) / np.exp(TARGET).sum()
    model = np.array([0.9, 0.1, 0.4, 0.6])
    log = LoggedActions(WORTH, behavior, target, np.arange(4), model, np.full(4, target @ model))
    ((values, _),) = OF_ACTIONS[name](log, Knobs())
    assert behavior @ values == pytest.approx(target @ WORTH)


def test_batches_and_their_order_do_not_matter_nor_what_users_are_called():
    draw = np.random.default_rng(1)
    n = 500
    rows = [draw.random(n), draw.uniform(0.1, 1, n), draw.uniform(0.1, 1, n), draw.integers(0, 60, n), draw.random(n), draw.random(n)]

    def judged(parts):
        evaluation = Evaluation("snipw", "sndr")
        for part in parts:
            evaluation.add(LoggedActions(*(column[part] for column in rows)))
        return evaluation.result(resamples=200)

    whole, shuffled = judged([np.arange(n)]), judged(np.array_split(draw.permutation(n), 7))
    for name in ("snipw", "sndr"):
        assert shuffled.values[name].mean == pytest.approx(whole.values[name].mean)
        assert shuffled.values[name].low == pytest.approx(whole.values[name].low, abs=0.03)
    rows[3] = rows[3] * 1_000_003 - 7
    renamed = judged([np.arange(n)])
    assert renamed.values["sndr"].low == pytest.approx(whole.values["sndr"].low) and renamed.users == whole.users == 60


def test_the_verdict_needs_rows_and_support_and_says_no_more_than_the_interval():
    draw = np.random.default_rng(3)
    n = 6000

    def judged(target_is_better, rows=n, outside=None):
        liked = draw.random(rows) < 0.5
        propensity = np.where(liked, 0.5, 0.5) + draw.uniform(-0.01, 0.01, rows)
        target = np.where(liked == target_is_better, 0.8, 0.2)
        evaluation = Evaluation("ipw")
        off = None if outside is None else np.full(rows, outside)
        evaluation.add(LoggedActions(liked.astype(float), propensity, target, np.arange(rows), outside=off))
        return evaluation.result(resamples=200)

    assert verdict(judged(True), "ipw") == "better" and verdict(judged(False), "ipw") == "worse"
    assert verdict(judged(True, rows=300), "ipw") == "not identifiable: needs staging"
    assert verdict(judged(True, outside=0.2), "ipw") == "not identifiable: needs staging"
    assert verdict(judged(True, outside=0.01), "ipw") == "better"
    assert verdict(judged(False), "ipw", margin=0.5) == "not worse"


def broken(**changed):
    rows = {"reward": ONES, "propensity": ONES / 2, "target_propensity": ONES / 4, "user": np.arange(3)}
    return LoggedActions(**{**rows, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"propensity": np.array([0.5, 0.0, np.nan])}, r"propensity is in \(0, 1\]; of 3 values 2 are not \(1 are missing\), such as 0"),
        ({"propensity": np.array([0.5, 1.5, 0.2])}, "of 3 values 1 are not .0 are missing., such as 1.5"),
        ({"target_propensity": np.array([0.5, -0.5, 0.2])}, r"target_propensity is in \[0, 1\]"),
        ({"reward": np.array([1.0, np.inf, np.nan])}, "a reward is a finite number; of 3 values 2 are not"),
        ({"user": np.arange(2)}, r"user has shape \(2,\), expected \(3,\)"),
        ({"predicted": ONES}, "given by both predicted and expected"),
    ],
)
def test_what_cannot_be_judged_by_is_refused_with_the_count(changed, message):
    with pytest.raises(ValueError, match=message):
        broken(**changed)


def test_propensities_that_say_nothing_are_refused():
    def judged(propensity, **how):
        evaluation = Evaluation("ipw", **how)
        evaluation.add(broken(propensity=propensity))
        return evaluation.result(resamples=10)

    with pytest.raises(ValueError, match=r"all propensities of 3 rows are 0\.5: if the log was drawn uniformly, say so"):
        judged(ONES / 2)
    assert judged(ONES / 2, uniform=True).values["ipw"].mean == 0.5
    with pytest.raises(ValueError, match="are 1: a log whose policy left nothing to chance"):
        judged(ONES, uniform=True)
    with pytest.raises(ValueError, match="no logged row"):
        Evaluation("ipw").result()
    with pytest.raises(ValueError, match="expected some of one kind"):
        Evaluation("ipw", "rips")
    with pytest.raises(TypeError, match="rips judges slates, found LoggedActions"):
        Evaluation("rips").add(broken())
    with pytest.raises(ValueError, match="needs a reward model"):
        Evaluation("doubly_robust").add(broken())
