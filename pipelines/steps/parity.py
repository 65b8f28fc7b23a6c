"""Whether what serving computed is what learning would: production's logged logits against those of its models on the pinned features."""

import numpy as np
import torch

from pipelines.lake.metrics import GATE_FOLD, Metric
from pipelines.registry.policy_figures import PRODUCTION
from pipelines.steps.logged_slates import Composed, SlateReader

GAP = "parity_logit_gap"


def parity(reader: SlateReader, release_id: str, composed: Composed) -> list[Metric]:
    """The largest difference over the candidates of the slates that this release drew, ``composed`` being the release on all of them.

    n: those slates; nothing where there is none. Rounding alone is left of it where serving and learning agree.
    """
    drawn = torch.from_numpy(np.array(reader.shown.decisions["release_id"].to_pylist(), dtype=object) == release_id)
    if not drawn.any():
        return []
    there = (reader.rows > 0)[drawn]
    gap = (reader.behavior_logits.double()[drawn] - composed.logits[drawn])[there].abs()
    return [Metric(GAP, PRODUCTION, gap.max().item(), n=int(drawn.sum()), slice=GATE_FOLD)]
