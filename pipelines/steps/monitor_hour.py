"""What an hour looks like from outside: drift, freshness, fallbacks, coverage, reward, and which objectives are broken.

It annotates and never gates: nothing that decides on a release reads it.
"""

from collections.abc import Sequence

import structlog

from pipelines.clock import check_hour
from pipelines.lake import ledger
from pipelines.lake.freshness import FRESHNESS, table_freshness
from pipelines.lake.holds import holds
from pipelines.lake.metrics import Metric, read_metrics, write_metrics
from pipelines.lake.tables import opened
from pipelines.registry.alerts import Alert, Judged, alert_of, changes, judge_objectives, post
from pipelines.settings import Settings
from pipelines.steps import score_users
from pipelines.steps.catalogue import input_version
from pipelines.steps.drift_figures import FOUND, P_VALUE, PSI, Compared, compared, drift_metrics, drifted
from pipelines.steps.serving_figures import (
    COVERAGE,
    DELAY,
    FALLBACKS,
    GINI,
    REWARD,
    new_item_delay,
    observed_reward,
    served_figures,
)
from pipelines.steps.step import Attempt, Outcome, attempt, check_follows, settled, writer_lock
from pipelines.steps.user_hours import ItemDates, figures_of_examples, figures_of_scores

log = structlog.get_logger()
STEP = "monitor_hour"
BROKEN, TOLD = "objective_broken", "objective_told"
NAMED = 3  # of the drifted figures, in the ledger's sentence; the others are in `metrics`
NAMES = (PSI, P_VALUE, FOUND, FALLBACKS, COVERAGE, GINI, DELAY, REWARD, FRESHNESS, BROKEN, TOLD)


def run(settings: Settings, hour: str) -> Outcome:
    """Writes the hour's figures, tells what has changed of the objectives, and names what is broken; an older hour is superseded."""
    check_hour(settings, hour)
    with writer_lock(settings, "monitor"), attempt(settings, STEP, [hour]) as current:
        return settled(current) or _monitor(current)


def _monitor(current: Attempt) -> Outcome:
    settings, hour = current.settings, current.hours[-1]
    check_follows(current, score_users.STEP)
    if ledger.last_done(settings, score_users.STEP, hour) is None:
        return current.record("superseded", "a newer hour was scored before this one")
    dates = ItemDates.read(settings, input_version(current, "items"))
    with current.stage("drift"):
        drift = _drift(current, dates)
    with current.stage("figures"):
        figures = [*_figures(current, dates), *table_freshness(settings, hour)]
    judged = judge_objectives(figures, settings.objectives)
    for one in judged:
        if one.broken:
            log.warning("objective broken", hour=hour, text=alert_of(one).text)
    with current.stage("tell"):
        told, news, failure = _tell(settings, hour, judged)
    states = [Metric(BROKEN, one.objective, float(one.broken)) for one in judged]
    write_metrics(settings, hour, [*figures, *drift_metrics(drift), *states, *told], also_without=NAMES)
    return current.record("done", _sentence(judged, news, drift, failure))


def _drift(current: Attempt, dates: ItemDates) -> list[Compared]:
    settings, hour = current.settings, current.hours[-1]
    examples, log = (input_version(current, name) for name in ("training_examples", "slate_log"))
    return [
        *compared(hour, _sound_hours(settings, "training_examples", examples),
                  lambda one: figures_of_examples(settings, one, examples, dates)),
        *compared(hour, _sound_hours(settings, "slate_log", log), lambda one: figures_of_scores(settings, one, log)),
    ]  # fmt: skip


def _sound_hours(settings: Settings, table: str, version: int) -> set[str]:
    """Hours that may be a reference: not the first load, whose negatives are sampled, and none that is held."""
    held = {part["hour"] for part in opened(settings, table, version).partitions()}
    return held - {settings.lake.start_hour} - set(holds(settings, "poison"))


def _figures(current: Attempt, dates: ItemDates) -> list[Metric]:
    settings, hour = current.settings, current.hours[-1]
    return [
        *served_figures(settings, input_version(current, "scores"), dates),
        *new_item_delay(settings, hour, input_version(current, "item_features"), dates),
        *observed_reward(settings, hour, input_version(current, "training_examples")),
    ]


def _tell(settings: Settings, hour: str, judged: Sequence[Judged]) -> tuple[list[Metric], list[Alert], str | None]:
    """What is known to be told from now on, what was told now, and why it could not be: then it is tried with the next hour."""
    before = ledger.last_done(settings, STEP, hour) or ledger.newest_done(settings, STEP, hour)
    known = {row.subject: row.value > 0 for row in read_metrics(settings, before.hour, TOLD)} if before else {}
    news, url = changes(judged, known), settings.objectives.webhook
    failure = post(url, hour, str(settings.home), news) if news and url else None
    if failure is None:
        known |= {one.objective: one.broken for one in judged}
    return [Metric(TOLD, name, float(broken)) for name, broken in known.items()], news, failure


def _sentence(judged: Sequence[Judged], news: Sequence[Alert], drift: Sequence[Compared], failure: str | None) -> str:
    broken = [alert_of(one).text for one in judged if one.broken]
    parts = [
        f"BROKEN: {'; '.join(broken)}" if broken else f"{len(judged)} objectives hold",
        *[alert.text for alert in news if not alert.broken], _drift_sentence(drift),
        *([f"the webhook was not told ({failure}) and is tried again with the next hour"] if failure else []),
    ]  # fmt: skip
    return "; ".join(parts)


def _drift_sentence(drift: Sequence[Compared]) -> str:
    if not drift:
        return "too few hours to compare with"
    found, beside = drifted(drift), " and ".join(sorted({f"the {one.reference}" for one in drift}))
    strongest = ", ".join(f"{one.subject} {one.drift.excess:+.3f}" for one in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{len(found)} of {len(drift)} figures drifted beside {beside}{f': {strongest}{more}' if found else ''}"
