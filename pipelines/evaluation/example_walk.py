"""Test, then train, on the examples alone: hour after hour is scored as it was shown, then learned by the loop's recipe."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import metrics
from models.training import TrainState
from pipelines.registry.judging import user_codes
from pipelines.steps.example_batches import ExampleReader
from pipelines.steps.ranker_judging import probabilities
from pipelines.steps.ranker_learning import learn

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedHour:
    """An hour's impressions: labels (n,) of the first task, what was predicted for them before the hour (n,), and whose they are."""

    hour: str
    labels: Floats
    probabilities: Floats
    user_ids: pa.Array


def walk_examples(
    reader: ExampleReader, hours: Sequence[str], judged: Collection[str], encoder_version: str
) -> Iterator[JudgedHour]:
    """The hours in order, the first one as the bootstrap; of those in ``judged`` what the ranker said that had not seen them."""
    state: TrainState | None = None
    for hour in hours:
        if state is not None and hour in judged:
            rows = reader.shown(hour)
            if len(rows.user_ids):
                found = probabilities(state.served(), rows, reader)
                yield JudgedHour(hour, rows.batch.labels[:, 0].double().numpy(), found, rows.user_ids)
        learned = learn(reader, [hour], state, encoder_version)
        state = learned.state if learned is not None else state


def running_auc(walk: Iterator[JudgedHour], on_hour: Callable[[int, float], None]) -> float:
    """AUC within each user's impressions of an hour, weighted by them, over all hours of the walk; nan where none has both classes.

    ``on_hour`` gets the number of the hour and the figure up to it.
    """
    total = count = 0.0
    for number, hour in enumerate(walk):
        sums, rows = metrics.auc_sums(hour.labels, hour.probabilities, user_codes(hour.user_ids))
        total, count = total + float(sums.sum()), count + float(rows.sum())
        if count:
            on_hour(number, total / count)
    return total / count if count else float("nan")
