"""A person's word on a challenger that has won, where ``gates.approval`` wants one: what is asked, and what an answer does."""

from collections.abc import Sequence

from pipelines.errors import UserError
from pipelines.registry.gates import Figure
from pipelines.registry.releases import ReleaseRow, challenger_before
from pipelines.registry.staging import VALUE
from pipelines.settings import Settings
from pipelines.steps import moves


def waits(row: ReleaseRow) -> bool:
    """Whether nothing but a person keeps this challenger from production."""
    outcomes = {figure.gate: figure.outcome for figure in row.gates}
    return VALUE in outcomes and set(outcomes.values()) == {"pass"}


def question(settings: Settings) -> str | None:
    """The evidence as Markdown; None where nobody is asked."""
    row = challenger_before(settings)
    if row is None or not settings.gates.approval or not waits(row):
        return None
    versions = ", ".join(f"{kind} {number}" for kind, number in row.versions.items())
    lines = [
        f"**{row.lineage}** ({row.kind}) as {row.release_id} of hour {row.hour}, versions {versions}, beside {row.compared_with}.", "",
        *row.reasons, "", "| gate | value | interval | bound | n |", "|---|---|---|---|---|", *_lines(row.gates), "",
        "*Approve* promotes its newest version from the next hour on; *Reject*, and no answer in time, end it.",
    ]  # fmt: skip
    return "\n".join(lines)


def answered(settings: Settings, approved: bool, by: str) -> ReleaseRow:
    """Promotes or ends the challenger that waits. Raises UserError where none does any more."""
    row = challenger_before(settings)
    if row is None or not waits(row):
        raise UserError("no challenger waits for a person any more; `recloop releases` tells what became of it")
    if approved:
        return moves.promote(settings, row.release_id, "approved", by=by)
    return moves.reject(settings, row.release_id, "not approved", by=by)


def _lines(gates: Sequence[Figure]) -> list[str]:
    found = []
    for one in gates:
        interval = "" if one.low == one.high else f"{one.low:.4f} to {one.high:.4f}"
        found.append(f"| {one.gate} | {one.value:.4f} | {interval} | {one.bound:g} | {one.n:,} |")
    return found
