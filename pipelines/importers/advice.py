"""What to set and to run after an import, as far as the figures and the settings say."""

from pipelines.clock import wall_clock
from pipelines.hours import hour_of, hours_between, shift
from pipelines.importers.report import ImportReport
from pipelines.lake import ledger
from pipelines.settings import Settings
from pipelines.steps.build_features import STEP
from pipelines.steps.landing_files import is_complete

LOGGED_H = 24
EVALUATED_H = 14 * 24  # of a shorter log half says little


def advice(settings: Settings, report: ImportReport) -> list[str]:
    """One line each: what keeps the loop from learning from these records, then what to put into ``recloop.yaml`` and to run."""
    found = [*_refused(settings, report), *_unused_reactions(settings, report), *_no_catalogue(settings, report)]
    return [*found, *_next(settings, report), *_to_evaluate(settings, report)]


def start_hour(report: ImportReport) -> str | None:
    """The hour for the first load: the last one of a log without impressions.

    With impressions the last LOGGED_H hours, but at most half of the log, stay to be learned from hour by hour. Never an hour
    that has not ended; None where no event is valid.
    """
    if report.first_hour is None or report.last_hour is None:
        return None
    span = hours_between(report.first_hour, report.last_hour)
    held_back = min(LOGGED_H, span // 2) if report.records["impressions"] else 0
    return min(shift(report.last_hour, -held_back), _newest_hour())


def _refused(settings: Settings, report: ImportReport) -> list[str]:
    if report.refused_share <= settings.lake.refused_share:
        return []
    return [
        f"ingest would refuse {report.refused_share:.1%} of the records, and an hour with more than {settings.lake.refused_share:.1%} "
        "fails: mend the mapping, or raise lake.refused_share"
    ]


def _unused_reactions(settings: Settings, report: ImportReport) -> list[str]:
    paid = settings.reward.tasks
    if not report.reactions or set(paid) & set(report.reactions):
        return []
    return [
        f"domain {settings.domain} rewards {', '.join(paid)}, and the log has only {', '.join(sorted(report.reactions))}: "
        "set another domain (ecommerce, video, social), or reward.terms, in recloop.yaml"
    ]


def _no_catalogue(settings: Settings, report: ImportReport) -> list[str]:
    if report.records["items"] or any(map(is_complete, (settings.landing / "items").glob("*"))):
        return []
    return ["there is no catalogue yet, and without titles nothing can be learned: import one with an `items` section"]


def _next(settings: Settings, report: ImportReport) -> list[str]:
    """The hours to run: from the first one that is not finished, which takes older records too, to the newest of the log."""
    proposed = start_hour(report)
    if proposed is None:
        return []
    finished = ledger.newest_hour(settings, STEP)
    first = shift(finished, 1) if finished else settings.lake.start_hour or proposed
    last = min(str(report.last_hour), _newest_hour())
    lines = [] if settings.lake.start_hour else [f"put into {settings.home / 'recloop.yaml'}:   lake: {{start_hour: {proposed}}}"]
    if first > _newest_hour():
        return [*lines, f"run next:   nothing; hour {first} takes these records once it has ended"]
    return [*lines, f"run next:   recloop backfill --from {first} --to {last}" if last > first else f"run next:   recloop hour {first}"]


def _to_evaluate(settings: Settings, report: ImportReport) -> list[str]:
    """Half of a log to learn from and half to be judged on, for who wants figures before a loop."""
    if settings.lake.start_hour or report.first_hour is None or report.last_hour is None:
        return []
    span = hours_between(report.first_hour, report.last_hour)
    if span < EVALUATED_H:
        return []
    middle, last = shift(report.first_hour, span // 2), min(report.last_hour, _newest_hour())
    return [
        f"or, to judge recloop on this log first:   start_hour: {middle}, "
        f"recloop backfill --tables-only --from {middle} --to {last}, recloop evaluate --candidates FILE"
    ]


def _newest_hour() -> str:
    return shift(hour_of(wall_clock()), -1)
