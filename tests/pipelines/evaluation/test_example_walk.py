"""Test, then train, on examples: an hour is judged by what had not seen it, and hours that chose settings do not confirm them."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.errors import UserError
from pipelines.evaluation.example_walk import JudgedHour, running_auc, walk_examples
from pipelines.hours import shift
from pipelines.steps.encoders import encoder_spec
from pipelines.steps.finetune_ranker import example_reader
from pipelines.steps.ranker_judging import probabilities
from pipelines.steps.ranker_learning import learn
from pipelines.steps.step import Attempt
from pipelines.steps.tune_ranker import confirmed
from pipelines.steps.tune_space import SPACE, present, tune_hours, with_values

START = "2026-11-10T08"
HOURS = [shift(START, n) for n in range(6)]


@pytest.fixture
def walked(make_examples_root):
    root = make_examples_root(len(HOURS))
    encoder = encoder_spec(root).version
    return example_reader(Attempt(root, "test", [HOURS[-1]]), encoder), encoder


def test_each_judged_hour_is_predicted_by_the_state_before_it(walked):
    reader, encoder = walked
    found = list(walk_examples(reader, HOURS[:4], {HOURS[0], HOURS[2], HOURS[3]}, encoder))
    assert [hour.hour for hour in found] == [HOURS[2], HOURS[3]], "nothing was learned before the first hour"
    state = learn(reader, HOURS[:1], None, encoder).state
    state = learn(reader, [HOURS[1]], state, encoder).state
    rows = reader.shown(HOURS[2])
    assert np.array_equal(found[0].probabilities, probabilities(state.served(), rows, reader))
    assert found[0].labels.tolist() == rows.batch.labels[:, 0].tolist() and found[0].user_ids.equals(rows.user_ids)


def test_the_running_figure_by_hand():
    """Hour 1: user a orders 1 of 1 pair right, b 0 of 2; hour 2: a has one class only; hour 3: a 1 of 1."""
    hours = [
        JudgedHour("1", np.array([1.0, 0, 1, 0, 0]), np.array([0.9, 0.1, 0.1, 0.5, 0.6]), pa.array(list("aabbb"))),
        JudgedHour("2", np.array([0.0, 0]), np.array([0.5, 0.6]), pa.array(list("aa"))),
        JudgedHour("3", np.array([0.0, 1, 0, 1, 0]), np.array([0.1, 0.2, 0.1, 0.3, 0.2]), pa.array(list("aaaaa"))),
    ]
    heard = []
    figure = running_auc(iter(hours), lambda number, auc: heard.append((number, auc)))
    third = 5.5 / 6  # pairs: 0.2 over .1 and .1, half of its tie with .2; 0.3 over all three
    assert [number for number, _ in heard] == [0, 1, 2]
    assert [auc for _, auc in heard] == pytest.approx([2 / 5, 2 / 5, (2 + 5 * third) / 10])
    assert figure == heard[-1][1]
    assert np.isnan(running_auc(iter(hours[1:2]), lambda *_: pytest.fail("nothing to report")))


def test_settings_that_learn_gain_over_settings_that_do_not(walked):
    reader, encoder = walked
    hours = tune_hours(HOURS, 4)
    good, none = {"bootstrap_lr": 1e-2, "lr": 3e-3}, {"bootstrap_lr": 1e-7, "lr": 1e-7}
    gain = confirmed(reader, hours, encoder, good, none)
    assert gain is not None and gain.low > 0 and gain.n == 30
    assert gain.low <= gain.value <= gain.high
    same = confirmed(reader, hours, encoder, good, good)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_hours_of_a_search():
    known = [shift(START, n) for n in range(20)]
    found = tune_hours(known, 8)
    assert (list(found.choosing), list(found.confirming)) == (known[12:18], known[18:])
    assert found.hours == [known[0], *known[4:]], "the first load, as many hours of run-up as are judged, then those"
    assert found.until_chosen == [known[0], *known[4:18]]
    few = tune_hours(known[:5], 8)
    assert (few.hours, list(few.choosing), list(few.confirming)) == (known[:5], known[1:4], [known[4]])
    with pytest.raises(UserError, match="at least 4 hours with examples after the first load, found 3; run more hours"):
        tune_hours(known[:4], 8)


def test_every_setting_that_is_searched_is_one_of_the_ranker(walked):
    reader, _ = walked
    values = {name: high for name, (_, high) in SPACE.items()}
    assert present(with_values(reader, values).settings) == values
    assert with_values(reader, values).examples is reader.examples
