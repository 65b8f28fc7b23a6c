"""The forgetting guard: the lineage against a full retrain that ends with the same hour, on rows that neither learned from."""

import numpy as np

from models import metrics
from models.ranker import Ranker
from pipelines.lake.metrics import Metric
from pipelines.registry.gates import CONFIDENCE
from pipelines.registry.judging import user_codes
from pipelines.steps.example_batches import ExampleReader, Rows
from pipelines.steps.ranker_judging import LINEAGE_ARM, judged_hours, probabilities
from pipelines.steps.reservoir import reservoir
from pipelines.steps.retrains import FORGETTING

RETRAIN_ARM = "retrain"
FRESH, RESERVOIR = "fresh", "reservoir"


def forgetting(reader: ExampleReader, hour: str, lineage: Ranker, retrained: Ranker) -> list[Metric]:
    """AUC per user of both and their difference, lineage less retrain with the gates' interval over users, on two sets of rows.

    *fresh*: the gate fold of the gates' window; *reservoir*: untouched rows of 30 days. A set without both classes says nothing.
    """
    hours = judged_hours(reader, hour)
    sets = {FRESH: reader.window(hours).judging if hours else None, RESERVOIR: reservoir(reader, hour)}
    return [metric for name, rows in sets.items() if rows is not None for metric in compared(reader, name, rows, lineage, retrained)]


def compared(reader: ExampleReader, name: str, rows: Rows, lineage: Ranker, retrained: Ranker) -> list[Metric]:
    labels, users, n = rows.batch.labels[:, 0].double().numpy(), user_codes(rows.user_ids), len(rows.user_ids)
    found = {arm: probabilities(ranker, rows, reader) for arm, ranker in ((LINEAGE_ARM, lineage), (RETRAIN_ARM, retrained)) if n}
    level = {arm: metrics.auc_per_user(labels, probability, users) for arm, probability in found.items()}
    if not level or not np.isfinite(list(level.values())).all():
        return []
    mean, low, high = metrics.user_difference(labels, found[LINEAGE_ARM], found[RETRAIN_ARM], users, "auc_per_user", CONFIDENCE)
    own = [Metric("retrain_auc_per_user", arm, value, n=n, slice=name) for arm, value in level.items()]
    return [*own, Metric(f"{FORGETTING}{name}", "ranker", mean, low, high, n, "gate fold")]
