"""Hours unlike the others: which are held, which are not, and what a person's word is worth."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.hours import shift
from pipelines.lake.holds import hold, holds, lift
from pipelines.lake.metrics import read_metrics
from pipelines.steps import unlike_hours
from pipelines.steps.unlike_hours import RATE, REWARD, SHOWN, TOP, told_by

FIRST = "2026-11-10T09"
TYPE = pa.struct([("click", pa.float64())])


def table(users, items, clicks, reward=None, source=None):
    columns = {
        "user_id": [f"u{n}" for n in users], "item_id": [f"i{n}" for n in items],
        "labels": pa.array([{"click": float(click)} for click in clicks], TYPE),
        "reward": np.asarray(clicks if reward is None else reward, dtype=float),
        "negative_source": pa.array([source] * len(users), pa.string()),
    }  # fmt: skip
    return pa.table(columns)


def hour_of(seed, users=300, rate=0.15, items=200, farm=0.0):
    """Ten impressions a user; clicks at this rate, and, of a click farm, on everything of ten items, for a share of the users."""
    random = np.random.default_rng(seed)
    user, item = np.repeat(np.arange(users), 10), random.zipf(1.5, users * 10) % items
    click = random.random(users * 10) < rate
    paid = random.random(users) < farm
    item = np.where(paid[user], np.tile(np.arange(10), users), item)
    return table(user, item, click | paid[user])


def hold_unlike(settings, tables):
    return unlike_hours.hold_unlike(settings, list(tables), tables.__getitem__)


def hours(*tables, first=FIRST):
    return {shift(first, n): found for n, found in enumerate(tables)}


def test_the_figures_by_hand():
    shown = table([1, 1, 1, 2], range(4), [1, 0, 0, 1], [0.5, 0.0, 0.0, 1.5])
    assert told_by(shown, "click") == (2, {RATE: 0.5, REWARD: 0.5, SHOWN: 2.0, TOP: 1.0})
    wide = table([1] * 30, [*range(20), *[0] * 10], [1] * 30)
    assert told_by(wide, "click")[1][TOP] == pytest.approx(20 / 30)
    assert told_by(shown.slice(0, 0), "click") == (0, {}) == told_by(table([1], [1], [1], source="sampled"), "click")


def test_hours_as_they_come_are_not_held(settings):
    """Quiet and busy ones, at a rate that a better policy raises by a third, and small ones of any kind."""
    as_usual = [hour_of(n, users=300 if n % 4 else 60, rate=0.15 if n < 30 else 0.2) for n in range(50)]
    assert hold_unlike(settings, hours(*as_usual, hour_of(1, users=40, rate=0.9))) == {}
    assert {metric.name for metric in read_metrics(settings, FIRST)} == {RATE, REWARD, SHOWN, TOP}


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (hour_of(99, rate=0.85), "share of impressions with a reaction is 0.8"),
        (hour_of(99, rate=0.01), "reward an impression is 0.0"),
        (hour_of(99, farm=0.3), "ten items got is"),
        (pa.concat_tables([hour_of(99)] * 3), "impressions a user is 30, expected 5.2 to 14.8 as in 26 hours"),
    ],
)
def test_an_hour_that_no_chance_explains_is_held_with_the_reason_and_the_next_is_not(settings, odd, words):
    found = hold_unlike(settings, hours(*[hour_of(n) for n in range(26)], odd, hour_of(27)))
    assert list(found) == [shift(FIRST, 26)] and words in found[shift(FIRST, 26)]
    assert holds(settings, "poison") == found


def test_nothing_is_said_before_there_is_enough_to_compare_with_and_nothing_with_no_band(settings):
    odd = hours(*[hour_of(n) for n in range(23)], hour_of(99, rate=0.9))
    assert hold_unlike(settings, odd) == {}
    none = settings.model_copy(update={"gates": settings.gates.model_copy(update={"hold_band": None})})
    assert hold_unlike(none, hours(*[hour_of(n) for n in range(26)], hour_of(99, rate=0.9))) == {}


def test_a_lifted_hold_stays_lifted_and_an_earlier_word_of_a_person_stands(settings):
    usual, odd = hours(*[hour_of(n) for n in range(26)]), shift(FIRST, 26)
    assert list(hold_unlike(settings, usual | {odd: hour_of(99, rate=0.9)})) == [odd]
    lift(settings, "poison", odd)
    assert hold_unlike(settings, {odd: hour_of(99, rate=0.9)}) == {} == holds(settings, "poison")
    later = shift(odd, 1)
    hold(settings, "poison", later, "a test of the site")
    assert hold_unlike(settings, {later: hour_of(98, rate=0.9)}) == {} and holds(settings, "poison") == {later: "a test of the site"}


def test_an_hour_of_the_day_is_compared_with_its_own(settings):
    """Nights are others than days: with a week behind it, a day's rate at night is held."""
    week = [hour_of(n, users=60, rate=0.3 if n % 24 < 8 else 0.1) for n in range(24 * 6)]
    assert hold_unlike(settings, hours(*week)) == {}
    night = shift(FIRST, 24 * 6)
    assert list(hold_unlike(settings, {night: hour_of(99, users=60, rate=0.1)})) == [night]


def test_a_change_that_lasts_is_learned_from_in_the_end(settings):
    """Held hours count among those that others are compared with."""
    found = hold_unlike(settings, hours(*[hour_of(n) for n in range(24)], *[hour_of(n, rate=0.4) for n in range(24, 40)]))
    assert list(found) == [shift(FIRST, n) for n in range(24, 28)], "until more than a tenth of all hours are as they are now"
