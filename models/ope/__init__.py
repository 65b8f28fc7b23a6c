"""Off-policy evaluation on arrays: what a policy would have earned, from what another one showed.

A log of single actions is a `LoggedActions`, one of slates a `LoggedSlateArrays`; an `Evaluation` takes them batch by batch, in memory that
grows with the users and not with the rows, and gives each estimator's value with its interval over users.

    evaluation = Evaluation("ipw", "doubly_robust")
    for batch in batches:
        evaluation.add(LoggedActions(reward, propensity, target_propensity, user, predicted, expected))
    found = evaluation.result()
    print(found.values["doubly_robust"], found.differences["doubly_robust"], verdict(found, "doubly_robust"))
"""

from models.ope.evaluation import Evaluation, Result, verdict
from models.ope.intervals import Interval, bootstrap_t_of_ratios, empirical_bernstein
from models.ope.marginals import item_position_marginals
from models.ope.records import LoggedActions, LoggedSlateArrays

__all__ = [
    "Evaluation", "Interval", "LoggedActions", "LoggedSlateArrays", "Result", "bootstrap_t_of_ratios", "empirical_bernstein",
    "item_position_marginals", "verdict",
]  # fmt: skip
