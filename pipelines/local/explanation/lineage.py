"""What a release is made of: the attempts that made its models, by ledger and releases alone."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.local.explanation.records import Attempt, Learned
from pipelines.registry.releases import MAIN, ReleaseRow, all_releases
from pipelines.settings import Settings
from pipelines.steps.candidates import CANDIDATE_OF, POLICY, POLICY_STEP, RANKER, RANKER_STEP
from pipelines.steps.promote_models import STEP as PROMOTE
from pipelines.steps.score_users import STEP as SCORE_USERS

NOT_RECORDED = "weights of which the ledger of that time says nothing"


def read_release(settings: Settings, release_id: str) -> ReleaseRow:
    """Raises UserError for one that has no row."""
    found = next((row for row in all_releases(settings) if row.release_id == release_id), None)
    if found is None:
        raise UserError(f"the slate was drawn by release {release_id}, which has no row in `releases`; `recloop verify` tells what is lost")
    return found


def scoring_attempt(settings: Settings, hour: str, versions: Mapping[str, int]) -> Attempt | None:
    """The hour's last scoring that read exactly these versions."""
    rows = [row for row in ledger.rows(settings, SCORE_USERS, hour) if row.status == "done" and row.inputs == dict(versions)]
    return _attempt(rows[-1:]) if rows else None


def learned(settings: Settings, release: ReleaseRow) -> list[Learned]:
    """Where its ranker comes from, with all that the lineage had learned before, and its policy, which is made of one pass."""
    return [_ranker(settings, release), _policy(settings, release)]


def _ranker(settings: Settings, release: ReleaseRow) -> Learned:
    made = _first_with(settings, release, RANKER)
    runs = _passes(settings, RANKER_STEP)
    newest = _judged(settings, made, runs)
    if newest is None:
        return Learned(RANKER, made.versions[RANKER], made.release_id, (), f"not by {RANKER_STEP}: {made.decided_by} of {made.hour}", None)
    passes, start = _lineage(newest, runs)
    beside = made.compared_with if made.lineage == MAIN else None
    return Learned(RANKER, made.versions[RANKER], made.release_id, [_attempt(one) for one in passes], start, beside)


def _policy(settings: Settings, release: ReleaseRow) -> Learned:
    made = _first_with(settings, release, POLICY)
    newest = _judged(settings, made, _passes(settings, POLICY_STEP))
    start = f"the policy of {made.compared_with}, in production then" if made.compared_with else "the first load"
    return Learned(POLICY, made.versions[POLICY], made.release_id, [_attempt(newest)] if newest else (), start, None)


def _first_with(settings: Settings, release: ReleaseRow, kind: str) -> ReleaseRow:
    """The release that this version came with: later ones may hold it too, and roll-backs do."""
    return next(row for row in all_releases(settings) if row.versions[kind] == release.versions[kind])


def _passes(settings: Settings, step: str) -> list[list[LedgerRow]]:
    """Finished attempts, each with a row for every hour that it took in; in the order in which they ended."""
    done = [row for row in ledger.rows(settings, step) if row.status == "done"]
    by_start = groupby(sorted(done, key=lambda row: (row.started_at, row.hour)), key=lambda row: row.started_at)
    return sorted((list(rows) for _, rows in by_start), key=lambda rows: rows[-1].ended_at)


def _judged(settings: Settings, release: ReleaseRow, runs: Sequence[list[LedgerRow]]) -> list[LedgerRow] | None:
    """The pass that the release was decided on: the last one of its hour that had ended when the decision began."""
    rows = ledger.rows(settings, PROMOTE, release.hour)
    decided = next((row for row in rows if row.status == "done" and release.release_id in (row.release_id, row.challenger_id)), None)
    if decided is None:
        return None
    found = [rows for rows in runs if rows[-1].hour == release.hour and rows[-1].ended_at <= decided.ended_at]
    before = [rows for rows in found if rows[-1].ended_at <= decided.started_at]
    return (before or found)[-1] if found else None


def _lineage(newest: list[LedgerRow], runs: Sequence[list[LedgerRow]]) -> tuple[list[list[LedgerRow]], str]:
    """The pass and those before it, each as the one after it recorded, and what the first began from."""
    chain = [newest]
    while (began := chain[-1][-1].began_from or NOT_RECORDED).startswith(CANDIDATE_OF):
        hour, start = began.removeprefix(CANDIDATE_OF), chain[-1][0].started_at
        earlier = [rows for rows in runs if rows[-1].hour == hour and rows[-1].ended_at <= start]
        if not earlier:
            return chain, f"{began}, whose attempt the ledger does not hold"
        chain.append(earlier[-1])
    return chain, began


def _attempt(rows: Sequence[LedgerRow]) -> Attempt:
    last = rows[-1]
    return Attempt(
        last.step, rows[0].hour, last.hour, len(rows), last.attempt, last.code_version, last.inputs, last.outputs, last.detail or "",
    )  # fmt: skip
