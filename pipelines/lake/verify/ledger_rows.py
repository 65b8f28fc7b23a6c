"""What the ledger's rows say together: who acknowledged which version, and what one pass over several hours wrote."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.lake.ledger import SET_ASIDE, LedgerRow

Acknowledged = Mapping[str, Mapping[int, Sequence[LedgerRow]]]


@dataclass(frozen=True)
class Pass:
    """One attempt that finished several hours at once; ``row`` stands for all of its rows, which repeat the same figures."""

    hours: tuple[str, ...]
    row: LedgerRow


def acknowledged(rows: Sequence[LedgerRow]) -> Acknowledged:
    """Rows by the table and version that they name as output, since the table's folder was last set aside."""
    anew = {table: row.ended_at for row in rows if row.step == SET_ASIDE for table in row.outputs}
    found: dict[str, dict[int, list[LedgerRow]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.status == "done" and row.step != SET_ASIDE:
            for table, version in row.outputs.items():
                if table not in anew or row.ended_at > anew[table]:
                    found[table][version].append(row)
    return found


def spoken(rows: Sequence[LedgerRow]) -> str:
    """``ingest 2026-11-10T13..2026-11-10T20``"""
    hours = sorted({row.hour for row in rows})
    return f"{rows[0].step} {hours[0]}" + (f"..{hours[-1]}" if len(hours) > 1 else "")


def passes(rows: Sequence[LedgerRow], step: str) -> list[Pass]:
    """The passes of a step that still stand: no hour of them was done again by a later one.

    A pass writes its totals on the row of each of its hours, all with one start time, so a sum over hours would count it several
    times. Where a single hour of a pass was done again, the totals of the old pass can no longer be told apart by hour.
    """
    done = [row for row in rows if row.step == step and row.status == "done"]
    newest = {row.hour: row for row in done}
    together: dict[object, list[LedgerRow]] = defaultdict(list)
    for row in done:
        together[row.started_at].append(row)
    standing = [group for group in together.values() if all(newest[row.hour] is row for row in group)]
    return [Pass(tuple(sorted(row.hour for row in group)), group[-1]) for group in standing]
