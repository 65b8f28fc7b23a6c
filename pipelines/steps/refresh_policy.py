"""The policy refresh: propensity audit of what was shown, off-policy learning on the new ranker, figures for the gates."""

from typing import TYPE_CHECKING

from pipelines.clock import check_hour
from pipelines.lake import ledger
from pipelines.lake.metrics import Metric, metrics_by_hour, write_metrics
from pipelines.settings import Settings
from pipelines.steps.candidates import POLICY, RANKER_STEP, candidate_folder, challenger_folder, note_version
from pipelines.steps.candidates import POLICY_STEP as STEP
from pipelines.steps.catalogue import hour_catalogue
from pipelines.steps.step import Attempt, Outcome, attempt, check_follows, settled, writer_lock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.policies.base import SlatePolicy
    from models.policies.refresh import RefreshReport
    from models.records import LoggedSlates
    from pipelines.registry.policy_figures import PolicyRecord
    from pipelines.steps.policy_judging import SlateLog
    from pipelines.steps.policy_learning import Lineage
    from spark_jobs.release import Release

CURVE_H = 168  # hours of the curve of values


def run(settings: Settings, hour: str) -> Outcome:
    """Leaves a policy for the hour's ranker candidate; at the first hour, the temperature rule without anything learned."""
    check_hour(settings, hour)
    with writer_lock(settings, "gpu"), attempt(settings, STEP, [hour]) as current:
        return settled(current) or _refresh(current)


def _refresh(current: Attempt) -> Outcome:
    from pipelines.steps import exploration, policy_judging, policy_learning, realised

    settings, hour = current.settings, current.hours[-1]
    check_follows(current, RANKER_STEP)
    if ledger.last_done(settings, RANKER_STEP, hour) is None:
        return current.record("unchanged", "the hour left no new ranker: the policy stays as it is")
    lineage = policy_learning.lineage(settings, hour)
    with current.stage("read"):
        catalogue = hour_catalogue(current, lineage.ranker.config.encoder_version)
        log = policy_judging.read_log(current, catalogue)
    with current.stage("audit"):
        audited = log.audited() if log else None
        audit = policy_judging.audit(audited)
        holds = policy_judging.holds(audit)
        audit += [*policy_judging.audit_of_arms(log), *policy_judging.session_return(log)] if log else []
    with current.stage("learn"):
        policy, report, learned = policy_learning.refreshed(log, lineage, exploration.temperature(current, lineage, catalogue))
    with current.stage("judge"):
        beside = _challenger(current, lineage, log)
        figures, judged = policy_judging.judged(log, lineage, policy, beside) if log and holds else ([], None)
    with current.stage("look back"):
        figures += realised.realised(log, lineage.ranker.config.encoder_version) if log and holds else []
    write_metrics(settings, hour, [*audit, *figures])
    with current.stage("register"):
        pictures = _pictures(current, audited, judged)
        version = _register(current, policy, report, [*audit, *figures], pictures, _page(current, judged, lineage))
    failed = "" if holds else "; the propensity audit failed: this hour's policy figures are invalid"
    mismatched = log.mismatched if log else 0
    bots = int(log.bots.sum()) if log else 0
    counts = f"{mismatched} positions were not as drawn, {bots} slates were shown to bots"
    detail = f"policy {version} learned from {learned} slates, temperature {policy.temperature:.2f}, {counts}{failed}"
    return current.record("done", detail, rows_in=learned)


def _challenger(current: Attempt, lineage: "Lineage", log: "SlateLog | None") -> "tuple[Release, SlateLog] | None":
    """The hour's challenger, whose policy is kept, and the log by the vectors that it reads; None where one of them is missing."""
    from dataclasses import replace

    from models.artifacts import save_policy
    from pipelines.steps import policy_learning

    settings, hour, own = current.settings, current.hours[-1], log
    found = policy_learning.challenger(settings, hour, lineage)
    if found is None:
        return None
    if log and lineage.champion:
        version = found.ranker.config.encoder_version
        own = log if version == lineage.ranker.config.encoder_version else replace(log, catalogue=hour_catalogue(current, version))
        found = policy_learning.as_spread(log, own, lineage.champion, found)
    save_policy(found.policy, challenger_folder(settings, hour) / POLICY)
    return (found, own) if own else None


def _audit_figure(slates: "LoggedSlates") -> "Figure":
    from models.off_policy import recomputed_propensities, reference_weights
    from pipelines.registry.figures import propensity_figure

    position = slates.shown.nonzero()[:, 1]
    parts = (slates.propensity, recomputed_propensities(slates), reference_weights(slates))
    return propensity_figure(position.numpy(), *(part[slates.shown].double().numpy() for part in parts))


def _pictures(current: Attempt, audited: "LoggedSlates | None", judged: "PolicyRecord | None") -> "dict[str, Figure]":
    """By name: the propensity audit, and what the refreshed policy would do, where there were slates for them."""
    from pipelines.registry.policy_charts import policy_figure

    found = {} if audited is None else {"propensities": _audit_figure(audited)}
    if judged is not None:
        found["policy"] = policy_figure(judged, metrics_by_hour(current.settings, "policy_value", current.hours[-1], CURVE_H))
    return found


def _page(current: Attempt, judged: "PolicyRecord | None", lineage: "Lineage") -> str | None:
    """Slates of some users before and after the refresh, by title."""
    from pipelines.registry.slate_page import slates_page
    from pipelines.steps.fixed_users import titles_of

    if judged is None or lineage.champion is None or not judged.users:
        return None
    items = {item for user in judged.users for item in (*user.before, *user.after, *user.reactions)}
    titles = titles_of(current.settings, items, current.inputs["items"])
    return slates_page(current.hours[-1], judged.users, titles, lineage.champion.release_id)


def _judged_by(figures: list[Metric]) -> dict[str, int]:
    """Slates that the policy was judged on, and how many of its own they are worth; nothing where it was not."""
    found = {(metric.name, metric.subject): metric.n or 0 for metric in figures}
    churn, worth = found.get(("policy_churn", "candidate")), found.get(("policy_value", "candidate"))
    return {} if churn is None or worth is None else {"judged_slates": churn, "effective_slates": worth}


def _register(
    current: Attempt, policy: "SlatePolicy", report: "RefreshReport", figures: list[Metric], pictures: "dict[str, Figure]", page: str | None
) -> str:
    from dataclasses import asdict

    from models.artifacts import save_policy
    from pipelines.registry.runs import tracked_run
    from pipelines.registry.versions import register, set_alias

    settings, hour = current.settings, current.hours[-1]
    folder = candidate_folder(settings, hour) / POLICY
    save_policy(policy, folder)
    with tracked_run(settings, STEP, hour) as tracked:
        tracked.params(settings.policy.model_dump() | _judged_by(figures))
        tracked.inputs(current.inputs)
        tracked.metrics(asdict(report) | {"temperature": policy.temperature})
        tracked.figures(figures)
        for name, picture in pictures.items():
            tracked.figure(name, picture)
        if page is not None:
            tracked.text("slates.html", page)
        version = register(settings, tracked, "policy", folder, hour)
    note_version(settings, hour, "policy", version)
    set_alias(settings, "policy", "candidate", version)
    return version
