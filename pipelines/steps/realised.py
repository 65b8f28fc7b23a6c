"""What a release of a day ago has really brought, beside what was promised when it was promoted."""

import numpy as np

from models.off_policy import difference, value
from pipelines.errors import UserError
from pipelines.hours import shift
from pipelines.lake.metrics import Metric, read_metrics
from pipelines.registry.gates import CONFIDENCE
from pipelines.registry.release_files import check_models
from pipelines.registry.releases import MAIN, PRODUCTION, ReleaseRow, all_releases, release_folder
from pipelines.registry.staging import VALUE
from pipelines.settings import Settings
from pipelines.steps.encoders import read_version
from pipelines.steps.policy_judging import SlateLog
from pipelines.steps.staging import GUARDED
from spark_jobs.release import Release, load_release

REALISED, PROMISED = "realised_lift", "promised_lift"
AFTER_H, SLATES = 24, 1024
_POLICY_VALUE = "policy value"


def realised(log: SlateLog, ranker_encoder: str) -> list[Metric]:
    """Lift over what the release displaced, promised and realised, as shares of that; none where no release began AFTER_H hours ago.

    Of a refresh: by the slates that it drew itself, from which nothing had been learned when it was promoted, what its predecessor would
    have earned there. Of a challenger that won: by the users who kept what was before.
    """
    settings, since = log.settings, shift(log.hour, -AFTER_H)
    rows = [row for row in all_releases(settings) if row.stage == PRODUCTION and row.since == since and row.compared_with]
    if not rows:
        return []
    row = rows[-1]
    promised = _promised(row)
    found = _of_refresh(log, row, ranker_encoder) if row.lineage == MAIN else _of_winner(settings, log.hour, row)
    return [*promised, *found] if promised and found else []


def _promised(row: ReleaseRow) -> list[Metric]:
    name, ranker = _POLICY_VALUE if row.lineage == MAIN else VALUE, row.versions["ranker"]
    figures = [figure for figure in row.gates if figure.gate == name]
    return [
        Metric(PROMISED, PRODUCTION, one.value, one.low, one.high, one.n, model_version=ranker) for one in figures if one.value is not None
    ]


def _of_winner(settings: Settings, hour: str, row: ReleaseRow) -> list[Metric]:
    """The newest figure of its guard, which looks at the same day."""
    for before in (shift(hour, -1), shift(hour, -2)):
        for found in read_metrics(settings, before, GUARDED):
            if found.subject == row.lineage:
                return [Metric(REALISED, PRODUCTION, found.value, found.low, found.high, found.n, model_version=row.versions["ranker"])]
    return []


def _of_refresh(log: SlateLog, row: ReleaseRow, ranker_encoder: str) -> list[Metric]:
    settings = log.settings
    before = next(one for one in all_releases(settings) if one.release_id == row.compared_with)
    own, other = (_loaded(settings, one, ranker_encoder) for one in (row, before))
    reader = log.drawn_by(row.release_id, SLATES)
    if own is None or other is None or reader is None:
        return []
    new, old = reader.composed(own), reader.composed(other)
    predicted = new.slates.candidates[..., 0].sigmoid()
    loss = difference(new.slates, old.logits, new.logits, CONFIDENCE, predicted=predicted)  # what its predecessor would have earned less
    level = max(value(new.slates, old.logits, predicted=predicted).mean, 1e-9)
    n = int(loss.effective_sample_size)
    if not np.isfinite([loss.mean, loss.low, loss.high]).all():
        return []
    return [
        Metric(REALISED, PRODUCTION, -loss.mean / level, -loss.high / level, -loss.low / level, n, model_version=row.versions["ranker"])
    ]


def _loaded(settings: Settings, row: ReleaseRow, ranker_encoder: str) -> Release | None:
    """The release; None where its models are gone, or read another encoder's vectors than the log has."""
    folder = release_folder(settings, row.release_id)
    try:
        check_models(folder, row.release_id)
    except UserError:
        return None
    if read_version(folder / "ranker") != ranker_encoder:
        return None
    return load_release(folder, row.release_id, tuple(term.weight for term in settings.reward.terms))
