"""What full retrains leave: a folder each, how the lineage compares with the last one, and the lineage's start where a person chose it."""

import shutil
from pathlib import Path

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.metrics import read_metrics
from pipelines.registry.gates import Measured
from pipelines.settings import Settings

RETRAIN_STEP, ADOPT_STEP = "retrain_ranker", "adopt_retrain"
FORGETTING = "forgetting_"  # first part of the figures' names
KEPT = 3
_LAST = "9999"  # after every hour


def retrain_folder(settings: Settings, hour: str) -> Path:
    """``ranker`` and ``ranker_state`` (with the optimizer) of the retrain that ends with this hour."""
    return settings.home / "retrains" / hour


def adopted_folder(settings: Settings, hour: str) -> Path:
    """The state from which the hours after this one go on, where a retrain was adopted then."""
    return settings.home / "retrains" / f"adopted-{hour}"


def newest_retrain(settings: Settings, before: str = _LAST) -> LedgerRow | None:
    return ledger.newest_done(settings, RETRAIN_STEP, before)


def adopted_hour(settings: Settings, before: str = _LAST) -> str | None:
    """The newest hour before this one after which the lineage was to go on from a retrain."""
    row = ledger.newest_done(settings, ADOPT_STEP, before)
    return row.hour if row is not None else None


def is_adopted(settings: Settings, retrain: LedgerRow) -> bool:
    return any(row.status == "done" and row.ended_at > retrain.ended_at for row in ledger.rows(settings, ADOPT_STEP))


def forgetting_figures(settings: Settings, until: str) -> dict[str, Measured]:
    """Lineage less retrain by the newest retrain up to this hour; none where there is none, or where the lineage goes on from it."""
    retrain = newest_retrain(settings, before=shift(until, 1))
    if retrain is None or is_adopted(settings, retrain):
        return {}
    return {
        metric.name: Measured(metric.value, metric.low, metric.high, metric.n)
        for metric in read_metrics(settings, retrain.hour, FORGETTING)
        if metric.low is not None and metric.high is not None and metric.n is not None
    }


def prune_retrains(settings: Settings) -> None:
    """Keeps the newest retrains, and the newest start that was adopted."""
    folder = settings.home / "retrains"
    for pattern, kept in (("????-??-??T??", KEPT), ("adopted-*", 1)):
        for old in sorted(folder.glob(pattern))[:-kept]:
            shutil.rmtree(old)
