"""What was drawn, seen and earned, as the log that ``recloop ope`` reads."""

import numpy as np
import pyarrow as pa

from pipelines.errors import UserError
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.lake.tables import table_version
from pipelines.settings import Settings
from pipelines.steps.shown_slates import read_shown_slates

_TABLES = ("training_examples", "slate_log", "slate_decisions")


def shown_decisions(settings: Settings, hours: int) -> pa.Table:
    """One row a shown position of the slates of the last hours, in the columns of the table below.

    ``candidates`` and ``behavior_logits`` of the draw stand in the row of position 0: from them another policy's probabilities follow. A
    slate counts down to the first position that is not as drawn. Raises UserError where no hour was built, or none showed a slate.
    """
    last = ledger.newest_hour(settings, "build_examples")
    if last is None:
        raise UserError(f"no hour was built under {settings.home}; run the loop first, or give another --home")
    wanted = hour_range(shift(last, 1 - hours), last)
    found = read_shown_slates(settings, wanted, {name: table_version(settings, name) for name in _TABLES})
    slate, position = np.nonzero(found.shown)
    if not len(slate):
        raise UserError(f"no slate of recloop's was shown in the {hours} hours up to {last}; see docs/events.md for what to log back")
    rows, first = found.decisions.take(slate), position == 0
    action, candidates, propensities = (rows[name].to_pylist() for name in ("action", "candidates", "propensities"))
    places = list(enumerate(position.tolist()))
    of_draw = {
        name: pa.array([value if head else None for value, head in zip(rows[source].to_pylist(), first, strict=True)], rows[source].type)
        for name, source in (("candidates", "candidates"), ("behavior_logits", "logits"))
    }
    return pa.table({
        "slate_id": rows["slate_id"], "position": pa.array(position), "user": rows["user_id"],
        "item_id": pa.array([candidates[row][action[row][place]] for row, place in places]), "hour": rows["hour"], "source": rows["source"],
        "release_id": rows["release_id"], "reward": pa.array(found.reward[slate, position].astype(np.float64)),
        "propensity": pa.array([float(propensities[row][place]) for row, place in places]), **of_draw,
    })  # fmt: skip
