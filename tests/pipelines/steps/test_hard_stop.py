"""What counts as an arm that cannot draw; that it is left out and stopped is tested with the scored table."""

import pytest

from pipelines.steps.hard_stop import Broken, broken_by_error, judged
from spark_jobs.scoring import ArmError

NO_NUMBERS = "slates hold scores or propensities that are no numbers"


@pytest.mark.parametrize(("counts", "found"), [
    ({"production": (900, 0, 0), "challenger": (900, 45, 0)}, None),  # 5 % are empty
    ({"production": (900, 90, 0), "challenger": (900, 130, 0)}, None),  # of production's 10 %
    ({"production": (900, 0, 0), "challenger": (20, 10, 0)}, None),  # too few to say
    ({"production": (90, 90, 0)}, None),  # a catalogue that is sold out is no model's fault
    ({}, None),
    ({"production": (900, 90, 0), "challenger": (90, 20, 0)}, Broken("challenger", "20 of 90 slates are empty, of production's 10.0%")),
    ({"production": (90, 0, 0), "predecessor": (5, 0, 5)}, Broken("predecessor", f"5 of 5 {NO_NUMBERS}")),
    ({"production": (90, 0, 1), "challenger": (90, 0, 0)}, Broken("production", f"1 of 90 {NO_NUMBERS}")),
    ({"production": (9, 0, 9), "challenger": (9, 0, 9)}, Broken("challenger", f"9 of 9 {NO_NUMBERS}")),
])  # fmt: skip
def test_an_arm_is_broken_by_what_is_no_number_or_by_emptier_slates_than_productions(counts, found):
    assert judged(counts) == found


def test_a_worker_names_the_arm_that_failed_and_other_errors_name_none():
    raised = ArmError("arm challenger: r000012 cannot draw: ValueError: shapes (3,) and (4,)")
    told = f"An exception was thrown from the Python worker:\nTraceback:\nspark_jobs.scoring.ArmError: {raised}\n\nat x"
    assert broken_by_error(RuntimeError(told)) == Broken("challenger", "r000012 cannot draw: ValueError: shapes (3,) and (4,)")
    assert broken_by_error(RuntimeError("No space left on device")) is None
