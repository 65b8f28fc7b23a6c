"""Holds: what a person stops stays stopped until it is lifted, with the reason in sight."""

import pytest

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.holds import check_not_frozen, hold, holds, lift, without_poisoned
from pipelines.settings import load_settings
from pipelines.steps.step import attempt

FIRST, SECOND = "2026-11-10T09", "2026-11-10T10"


@pytest.fixture
def settings(tmp_path):
    return load_settings(tmp_path, {})


def test_a_frozen_hour_is_written_by_no_step_until_it_is_lifted(settings):
    hold(settings, "freeze", FIRST, "the producer sends test traffic")
    for hours in ([FIRST], [FIRST, SECOND]):
        with pytest.raises(UserError, match="frozen: the producer sends test traffic; `recloop hold freeze"), attempt(settings, "x", hours):
            pytest.fail("the step ran")
    assert not ledger.rows(settings, "x")
    with attempt(settings, "x", [SECOND]) as current:
        current.record("done")
    lift(settings, "freeze", FIRST)
    check_not_frozen(settings, [FIRST, SECOND])


def test_poisoned_hours_are_left_out_and_come_back(settings):
    hold(settings, "poison", FIRST, "bots")
    assert without_poisoned(settings, [FIRST, SECOND]) == [SECOND]
    assert holds(settings, "poison") == {FIRST: "bots"} and holds(settings, "freeze") == {}
    lift(settings, "poison", FIRST)
    assert without_poisoned(settings, [FIRST, SECOND]) == [FIRST, SECOND]


def test_one_lift_ends_every_hold_of_promotions(settings):
    for hour, reason in ((FIRST, "audit"), (SECOND, "holiday")):
        hold(settings, "promotions", hour, reason)
    assert holds(settings, "promotions") == {FIRST: "audit", SECOND: "holiday"}
    lift(settings, "promotions", "2026-11-10T11")
    assert holds(settings, "promotions") == {}


def test_a_hold_needs_a_reason_and_a_lift_something_to_lift(settings):
    with pytest.raises(UserError, match="needs a reason"):
        hold(settings, "freeze", FIRST, " ")
    hold(settings, "freeze", FIRST, "why")
    with pytest.raises(UserError, match=f"no hold of freeze on {SECOND}; held now: .*{FIRST}"):
        lift(settings, "freeze", SECOND)
