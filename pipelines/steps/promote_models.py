"""The release decision of an hour: gate figures in, one row in ``releases`` out; aliases follow it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clock import check_hour, now
from pipelines.failpoint import failpoint
from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.holds import holds
from pipelines.lake.metrics import Metric, read_metrics
from pipelines.registry.gates import Decision, Measured, decide_promotion, load_gates
from pipelines.registry.release_files import check_models
from pipelines.registry.releases import (
    ABSTAINED,
    PRODUCTION,
    REJECTED,
    ReleaseRow,
    append_decision,
    decision_for,
    next_release_id,
    production_before,
    release_folder,
)
from pipelines.settings import Settings
from pipelines.steps.candidates import BOTH, POLICY, POLICY_STEP, RANKER, RANKER_ONLY, candidate_folder, noted_versions, prune_candidates
from pipelines.steps.embed_items import encoder_spec
from pipelines.steps.retrains import forgetting_figures
from pipelines.steps.step import Attempt, Outcome, attempt, check_follows, settled, writer_lock

if TYPE_CHECKING:
    from pipelines.registry.runs import Run

STEP = "promote_models"
STAGES = {"promote": PRODUCTION, "reject": REJECTED, "abstain": ABSTAINED}


def run(settings: Settings, hour: str) -> Outcome:
    """Decides on the hour's candidate once; a rerun mends folders and aliases and leaves the decision as it is."""
    check_hour(settings, hour)
    with writer_lock(settings, "releases"), attempt(settings, STEP, [hour]) as current:
        return settled(current) or _promote(current)


def _promote(current: Attempt) -> Outcome:
    from pipelines.registry.runs import tracked_run

    settings, hour = current.settings, current.hours[-1]
    check_follows(current, POLICY_STEP)
    if ledger.last_done(settings, POLICY_STEP, hour) is None:
        return current.record("unchanged", "the hour left no candidate: production stays as it is")
    with tracked_run(settings, STEP, hour) as tracked:
        row = decision_for(settings, hour)
        if row is None:
            with current.stage("decide"):
                row = _decided(current, tracked)
        with current.stage("publish"):
            _publish(settings, row, tracked)
    prune_candidates(settings, hour)
    return current.record("done", f"{row.release_id} {row.stage}: {'; '.join(row.reasons)}", release_id=row.release_id)


def _decided(current: Attempt, tracked: "Run") -> ReleaseRow:
    """Judges, copies the artifacts to the release's folder, then moves the row: scoring never sees half a release."""
    from pipelines.registry.versions import register

    settings, hour = current.settings, current.hours[-1]
    champion = production_before(settings, hour)
    versions = noted_versions(settings, hour)
    decision, with_policy = _judged(settings, hour, champion)
    if champion is not None:
        versions = dict(champion.versions) | versions
        versions["policy"] = versions["policy"] if with_policy else champion.versions["policy"]
    versions["encoder"] = register(settings, tracked, "encoder", Path(encoder_spec(settings).path), hour)
    row = ReleaseRow(
        release_id=next_release_id(settings), hour=hour, versions=versions, kind="refresh" if champion else "bootstrap",
        stage=STAGES[decision.verdict], decided_by=STEP, since=shift(hour, 1) if champion else hour, decided_at=now(settings, hour),
        reasons=decision.reasons, gates=decision.figures, compared_with=champion.release_id if champion else None,
    )  # fmt: skip
    if row.stage == PRODUCTION:
        _copy_artifacts(settings, row, champion, with_policy)
        failpoint(settings, "promote_models:artifacts")
    append_decision(settings, row, row.compared_with)
    failpoint(settings, "promote_models:row")
    return row


def _judged(settings: Settings, hour: str, champion: ReleaseRow | None) -> tuple[Decision, bool]:
    """{new ranker, new policy}, and where that does not pass {new ranker, production policy}; whether the new policy is in."""
    if champion is None:
        return Decision("promote", ("the first release: there is nothing to compare with",), ()), True
    gates, figures = load_gates("refresh"), read_metrics(settings, hour, "gate_")
    forgotten = forgetting_figures(settings, hour)
    both = decide_promotion(_measured(figures, BOTH) | forgotten, gates)
    if held := holds(settings, "promotions"):
        why = "; ".join(f"promotions are held since {since}: {reason}" for since, reason in held.items())
        return Decision("abstain", (why,), both.figures), True
    if both.verdict == "promote":
        return both, True
    ranker_only = decide_promotion(_measured(figures, RANKER_ONLY) | forgotten, gates)
    return (ranker_only, False) if ranker_only.verdict == "promote" else (both, True)


def _measured(figures: list[Metric], subject: str) -> dict[str, Measured]:
    return {
        metric.name.removeprefix("gate_"): Measured(metric.value, metric.low, metric.high, metric.n)
        for metric in figures
        if metric.subject in ("ranker", subject) and metric.low is not None and metric.high is not None and metric.n is not None
    }


def _copy_artifacts(settings: Settings, row: ReleaseRow, champion: ReleaseRow | None, with_policy: bool) -> None:
    """``releases/<id>/{ranker,policy}``, in one rename; what the hour did not make anew is production's.

    Raises UserError for a model that cannot score. The first release has no gates: this alone keeps it from being one of nan.
    """
    own = candidate_folder(settings, row.hour)
    sources = {RANKER: own / RANKER, POLICY: own / POLICY}
    if champion is not None:
        old = release_folder(settings, champion.release_id)
        sources = {kind: path if path.exists() else old / kind for kind, path in sources.items()}
        sources[POLICY] = sources[POLICY] if with_policy else old / POLICY
    target = release_folder(settings, row.release_id)
    scratch = target.with_name(f".{target.name}")
    for folder in (scratch, target):
        shutil.rmtree(folder, ignore_errors=True)
    for kind, path in sources.items():
        shutil.copytree(path, scratch / kind)
    check_models(scratch, row.release_id)
    scratch.rename(target)


def _publish(settings: Settings, row: ReleaseRow, tracked: "Run") -> None:
    """Tells the registry: the gates as a figure, aliases of a production release, and on each version what was decided and why."""
    from pipelines.registry.figures import gates_figure
    from pipelines.registry.versions import set_aliases, tag_version

    reasons = "; ".join(row.reasons)
    tracked.params({"release_id": row.release_id, "compared_with": row.compared_with, **row.versions})
    tracked.tag("decision", row.stage)
    tracked.text("reasons.txt", reasons + "\n")
    tracked.figure("gates", gates_figure(row.gates, load_gates("refresh")))
    if row.stage == PRODUCTION:
        set_aliases(settings, row.versions, "production")
    for kind in (RANKER, POLICY):
        tag_version(settings, kind, row.versions[kind], {"decision": row.stage, "release_id": row.release_id, "reasons": reasons})
