"""What is held back: promotions, an hour that is frozen, an hour that is poisoned. Kept in the ledger, with the reason.

*Frozen*: no step writes the hour until it is lifted. *Poisoned*: the hour stays in the tables and in the counters, and no model
learns from it, replays it, or is judged by it.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.local.code_version import code_version
from pipelines.settings import Settings

Kind = Literal["promotions", "freeze", "poison"]
HELD, LIFTED = "held", "released"


def holds(settings: Settings, kind: Kind) -> dict[str, str]:
    """Reason by hour of what is held now; for promotions the hour says when the hold was set."""
    found: dict[str, str] = {}
    for row in ledger.rows(settings, step_of(kind)):
        if row.status == HELD:
            found[row.hour] = row.detail or ""
        elif kind == "promotions":
            found.clear()
        else:
            found.pop(row.hour, None)
    return found


def hold(settings: Settings, kind: Kind, hour: str, reason: str) -> None:
    """Raises UserError for an empty reason: who finds the hold must know why it is there."""
    if not reason.strip():
        raise UserError(f"a hold needs a reason; give --reason for {kind} of {hour}")
    _write(settings, kind, hour, HELD, reason)


def lift(settings: Settings, kind: Kind, hour: str) -> None:
    """Raises UserError where nothing of the kind is held."""
    held = holds(settings, kind)
    if not held or (kind != "promotions" and hour not in held):
        raise UserError(f"nothing to lift: no hold of {kind}{'' if kind == 'promotions' else f' on {hour}'}; held now: {held or 'nothing'}")
    _write(settings, kind, hour, LIFTED, "")


def check_not_frozen(settings: Settings, hours: Iterable[str]) -> None:
    """Raises UserError where one of the hours is frozen."""
    frozen = holds(settings, "freeze")
    for hour in hours:
        if hour in frozen:
            raise UserError(f"hour {hour} is frozen: {frozen[hour]}; `recloop hold freeze {hour} --lift` when it may be written again")


def without_poisoned(settings: Settings, hours: Sequence[str]) -> list[str]:
    """The hours that may teach and judge."""
    poisoned = holds(settings, "poison")
    return [hour for hour in hours if hour not in poisoned]


def step_of(kind: Kind) -> str:
    """The step of the ledger's rows."""
    return f"hold_{kind}"


def _write(settings: Settings, kind: Kind, hour: str, status: str, reason: str) -> None:
    now = wall_clock()
    row = LedgerRow(hour=hour, step=step_of(kind), status=status, code_version=code_version(), started_at=now, ended_at=now, detail=reason)
    ledger.write_rows(settings, [row])
