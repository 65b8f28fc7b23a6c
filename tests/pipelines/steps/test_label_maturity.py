"""How long reactions take, by hand: those that came with the showing, those that came later, and those that only grew."""

from datetime import timedelta

import pytest

from pipelines.hours import parse_hour, shift
from pipelines.lake.held import HeldHours
from pipelines.steps.label_maturity import maturity_h

START = "2026-11-10T08"
HOURS = [shift(START, n) for n in range(6)]


@pytest.fixture
def arrived(write, settings):
    """Writes (hour of arrival, hours since the showing, how many, labels, earlier labels); answers the examples."""

    def rows(*groups):
        values = []
        for number, (hour, age, count, labels, before) in enumerate(groups):
            shown = parse_hour(shift(hour, -age)) + timedelta(minutes=59)
            values += [{
                "example_id": f"{number}-{n}", "revision": int(age > 0), "user_id": "u", "item_id": "i", "ts": shown, "known_at": shown,
                "position": 0, "labels": labels, "previous_labels": before, "reward": 0.0, "reward_version": "v",
                "user": {"recent": []}, "item": {}, "hour": hour,
            } for n in range(count)]  # fmt: skip
        return HeldHours(settings, "training_examples", write("training_examples", values))

    return rows


def test_nine_tenths_of_a_tasks_reactions_have_arrived_by_then(arrived):
    examples = arrived(
        (HOURS[0], 0, 500, {"click": 1.0}, None), (HOURS[3], 1, 20, {"click": 1.0}, {"click": 0.0}),
        (HOURS[3], 0, 150, {"click": 1.0, "watch": 0.8}, None), (HOURS[4], 2, 60, {"click": 1.0, "watch": 0.9}, {"click": 1.0}),
        (HOURS[5], 4, 30, {"watch": 1.0}, {"watch": 0.1}), (HOURS[5], 5, 900, {"click": 1.0, "watch": 1.0}, {"click": 1.0, "watch": 0.7}),
        (HOURS[5], 3, 199, {"rating": 1.0}, {}), (HOURS[5], 0, 900, {"rating": 0.0}, None),
    )  # fmt: skip
    found = maturity_h(examples, HOURS, ("click", "watch", "rating"))
    assert found == {"click": 0, "watch": 4}, "150 at once, 60 after two hours, 30 after four: the 216th of 240; growing is no reaction"
    assert maturity_h(examples, HOURS[:5], ("watch",)) == {"watch": 2}, "of what had arrived: 150 and 60"
    assert maturity_h(examples, HOURS[:3], ("watch",)) == {}, "nothing to tell it from"
