"""A ranker from scratch out of all examples up to an hour, streamed: hours in order, a bounded number of rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from models.parallel import ALONE, Group
from models.records import RankerBatch
from models.training import TrainState, finetune
from pipelines.steps.example_batches import ExampleReader, joined
from pipelines.steps.ranker_learning import finetune_settings, first_state

BUFFER_ROWS = 65_536


@dataclass(frozen=True)
class Retrained:
    """The state at the end, loss and gradient norm of each step, rows of one pass, and the most that were held at once."""

    state: TrainState
    steps: Sequence[dict[str, float]]
    rows: int
    most_held: int


def buffers(reader: ExampleReader, hours: Sequence[str], at_least: int) -> Iterator[RankerBatch]:
    """What the hours teach, in order, so many rows at a time: no more is held than these and one hour's."""
    held: list[RankerBatch] = []
    for hour in hours:
        held.append(reader.fresh(hour, gate=False).batch)
        if sum(map(len, held)) >= at_least:
            yield joined(held)
            held.clear()
    if sum(map(len, held)):
        yield joined(held)


def untrained(reader: ExampleReader, hours: Sequence[str], encoder_version: str) -> TrainState | None:
    """The lineage's own start: the same weights, scaled by the first hour that teaches anything; None where none does."""
    learning = finetune_settings(reader.settings, bootstrap=True)
    first = next((batch for hour in hours if len(batch := reader.fresh(hour, gate=False).batch)), None)
    return first_state(reader, first, learning, encoder_version) if first is not None else None


def retrain(
    reader: ExampleReader, hours: Sequence[str], state: TrainState, group: Group = ALONE, buffer_rows: int = BUFFER_ROWS
) -> Retrained:
    """``ranker.bootstrap_epochs`` passes at the bootstrap's rate and a last one at the hour's, the newest hours last in each.

    A buffer's rows are shuffled among themselves. In a group every process reads all rows and keeps its share of them.
    """
    bootstrap, hourly = (replace(finetune_settings(reader.settings, bootstrap), epochs=1) for bootstrap in (True, False))
    steps: list[dict[str, float]] = []
    rows, most = 0, 0
    for learning in [*[bootstrap] * reader.settings.ranker.bootstrap_epochs, hourly]:
        rows = 0
        for batch in buffers(reader, hours, buffer_rows):
            own = batch.rows(slice(group.rank, None, group.size))
            state = finetune(state, own, reader.catalogue.table, learning, lambda _, found: steps.append(found), group, len(batch))
            rows, most = rows + len(batch), max(most, len(batch))
    return Retrained(state, steps, rows, most)
