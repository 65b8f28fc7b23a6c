"""The release decision of an hour: gate figures in, one row in ``releases`` out; aliases follow it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clock import check_hour, now
from pipelines.failpoint import failpoint
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.holds import holds
from pipelines.lake.metrics import read_metrics
from pipelines.registry.gates import Decision, decide_promotion, load_gates
from pipelines.registry.release_files import install
from pipelines.registry.releases import (
    ABSTAINED,
    MAIN,
    PRODUCTION,
    REJECTED,
    STAGING,
    ReleaseRow,
    all_releases,
    append_decision,
    decision_for,
    newest_production,
    next_release_id,
    release_folder,
)
from pipelines.settings import Settings
from pipelines.steps.candidates import (
    BOTH,
    POLICY,
    POLICY_STEP,
    RANKER,
    RANKER_ONLY,
    candidate_folder,
    noted_champion,
    noted_versions,
    prune_candidates,
)
from pipelines.steps.encoders import encoder_spec, follow_production
from pipelines.steps.gate_metrics import measured_figures
from pipelines.steps.moves import ended_beside
from pipelines.steps.retrains import forgetting_figures
from pipelines.steps.roll_back import finish
from pipelines.steps.staging import Decided, StagingStep, prune_staging
from pipelines.steps.step import Attempt, Outcome, attempt, check_follows, settled, writer_lock

if TYPE_CHECKING:
    from pipelines.registry.runs import Run

STEP = "promote_models"
STAGES = {"promote": PRODUCTION, "reject": REJECTED, "abstain": ABSTAINED}


def run(settings: Settings, hour: str) -> Outcome:
    """Decides on the hour's candidate once; where the guard takes production back, ``scores`` are published anew from earlier slates."""
    outcome = decide(settings, hour)
    finish(settings)
    return outcome


def decide(settings: Settings, hour: str) -> Outcome:
    """The decision alone, which needs no Spark; a rerun mends folders and aliases and leaves it as it is."""
    check_hour(settings, hour)
    with writer_lock(settings, "releases"), attempt(settings, STEP, [hour]) as current:
        return settled(current) or _promote(current)


def _promote(current: Attempt) -> Outcome:
    from pipelines.registry.lineage_run import log_hour
    from pipelines.registry.runs import tracked_run

    settings, hour = current.settings, current.hours[-1]
    check_follows(current, POLICY_STEP)
    if ledger.last_done(settings, POLICY_STEP, hour) is None:
        return current.record("unchanged", "the hour left no candidate: production stays as it is")
    with tracked_run(settings, STEP, hour) as tracked:
        if decision_for(settings, hour) is None:
            with current.stage("decide"):
                _decide(current, tracked)
        decided = [row for row in all_releases(settings) if row.hour == hour and row.decided_by == STEP]
        with current.stage("publish"):
            _publish(settings, decided, tracked)
            log_hour(settings, hour, read_metrics(settings, hour))
    prune_candidates(settings, hour)
    prune_staging(settings, hour)
    row, *beside = decided
    said = [f"{row.release_id} {row.stage}: {'; '.join(row.reasons)}" for row in (row, *beside)]
    return current.record("done", "; ".join(said), release_id=row.release_id, challenger_id=beside[0].release_id if beside else None)


def _decide(current: Attempt, tracked: "Run") -> None:
    """Judges, copies the models to the releases' folders, then appends the rows in one commit: scoring never sees half a release."""
    settings, champion = current.settings, newest_production(current.settings)
    found = _decided(current, tracked, champion)
    rows = [replace(one.row, release_id=next_release_id(settings, after=number)) for number, one in enumerate(found)]
    for row, one in zip(rows, found, strict=True):
        if row.stage in (PRODUCTION, STAGING):
            install(release_folder(settings, row.release_id), one.models, row.release_id)
    failpoint(settings, "promote_models:artifacts")
    append_decision(settings, rows[0], champion.release_id if champion else None, rows[1:])
    failpoint(settings, "promote_models:row")


def _decided(current: Attempt, tracked: "Run", champion: ReleaseRow | None) -> list[Decided]:
    """What becomes of production, then of a challenger. Where production goes back, or to the challenger, no refresh is judged."""
    from pipelines.registry.versions import register

    settings, hour = current.settings, current.hours[-1]
    encoder = register(settings, tracked, "encoder", Path(encoder_spec(settings).path), hour)
    if champion is None or noted_champion(settings, hour) != champion.release_id:
        return [_refresh(current, champion, encoder)]
    step = StagingStep(current, tracked, champion)
    if back := step.rolled_back():
        return [back, *(Decided(row, {}) for row in ended_beside(settings, back.row, "production was rolled back"))]
    staged = step.staged()
    if staged is not None and staged.row.stage == PRODUCTION:
        return [staged]
    return [_refresh(current, champion, encoder), *([staged] if staged else [])]


def _refresh(current: Attempt, champion: ReleaseRow | None, encoder: str) -> Decided:
    """The decision on the hour's candidate, and where its models lie."""
    settings, hour = current.settings, current.hours[-1]
    versions = noted_versions(settings, hour)
    decision, with_policy = _judged(settings, hour, champion)
    if champion is not None:
        versions = dict(champion.versions) | versions
        versions["policy"] = versions["policy"] if with_policy else champion.versions["policy"]
    row = ReleaseRow(
        release_id="", hour=hour, versions=versions | {"encoder": encoder},
        kind="refresh" if champion else "bootstrap", stage=STAGES[decision.verdict], decided_by=STEP,
        since=shift(hour, 1) if champion else hour, decided_at=now(settings, hour),
        reasons=decision.reasons, gates=decision.figures, compared_with=champion.release_id if champion else None,
    )  # fmt: skip
    return Decided(row, _models(settings, hour, champion, with_policy))


def _judged(settings: Settings, hour: str, champion: ReleaseRow | None) -> tuple[Decision, bool]:
    """{new ranker, new policy}, and where that does not pass {new ranker, production policy}; whether the new policy is in."""
    if champion is None:
        return Decision("promote", ("the first release: there is nothing to compare with",), ()), True
    if (measured := noted_champion(settings, hour)) != champion.release_id:
        moved = f"the candidate was measured against {measured or 'an unknown release'}, and production is {champion.release_id} now"
        return Decision("abstain", (moved,), ()), True
    gates, figures = load_gates("refresh"), read_metrics(settings, hour, "gate_")
    forgotten = forgetting_figures(settings, hour)
    both = decide_promotion(measured_figures(figures, "ranker", BOTH) | forgotten, gates)
    if held := holds(settings, "promotions"):
        why = "; ".join(f"promotions are held since {since}: {reason}" for since, reason in held.items())
        return Decision("abstain", (why,), both.figures), True
    if both.verdict == "promote":
        return both, True
    ranker_only = decide_promotion(measured_figures(figures, "ranker", RANKER_ONLY) | forgotten, gates)
    return (ranker_only, False) if ranker_only.verdict == "promote" else (both, True)


def _models(settings: Settings, hour: str, champion: ReleaseRow | None, with_policy: bool) -> dict[str, Path]:
    """Where the ranker and the policy of the hour's release lie; what the hour did not make anew is production's."""
    own = candidate_folder(settings, hour)
    if champion is None:
        return {kind: own / kind for kind in (RANKER, POLICY)}
    old = release_folder(settings, champion.release_id)
    found = {kind: own / kind if (own / kind).exists() else old / kind for kind in (RANKER, POLICY)}
    return found if with_policy else found | {POLICY: old / POLICY}


def _publish(settings: Settings, rows: Sequence[ReleaseRow], tracked: "Run") -> None:
    """``encoder.path`` follows, and the registry: gates as a figure, aliases of what is served, and on each version what was decided."""
    from pipelines.registry.aliases import follow_releases, tag_decision
    from pipelines.registry.figures import gates_figure

    decision = rows[0]
    tracked.params({"release_id": decision.release_id, "compared_with": decision.compared_with, **decision.versions})
    tracked.tag("decision", decision.stage)
    tracked.text("reasons.txt", "\n".join(reason for row in rows for reason in row.reasons) + "\n")
    follow_production(settings)
    follow_releases(settings)
    for row in rows:
        name, kind = ("gates", "refresh") if row.lineage == MAIN else ("staging", "staging")
        tracked.figure(name, gates_figure(row.gates, load_gates(kind)))
        tag_decision(settings, row)
