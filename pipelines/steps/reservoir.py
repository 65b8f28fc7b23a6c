"""Rows of the last month that no lineage of the root learned from: what a ranker may have forgotten shows on them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from pipelines.hours import shift
from pipelines.settings import Settings
from pipelines.steps.example_batches import ExampleReader, Rows, holds_unshown, last_revisions, with_labels
from pipelines.steps.folds import in_gate_fold

DAYS, AT_MOST = 30, 131_072
_ROW = 55  # stream of the hash


def reservoir(reader: ExampleReader, hour: str, at_most: int = AT_MOST) -> Rows:
    """Impressions of the 30 days up to ``hour`` with the labels known by then, of users whom nothing learned from meanwhile.

    A hashed sample, the same share of every hour. Hours whose negatives were sampled judge nothing, and poisoned ones neither.
    """
    settings, oldest = reader.settings, shift(hour, 1 - 24 * DAYS)
    first_load = settings.lake.start_hour
    hours = reader.teaching([h for h in reader.examples.hours if oldest <= h <= hour and h != first_load])
    rows = pa.concat_tables([_untouched(reader, h, hour, at_most // len(hours)) for h in hours] or [_none(reader)])
    return reader.rows(with_labels(rows, _labels_of(reader, rows["example_id"], [h for h in reader.examples.hours if h <= hour])))


def untouched(settings: Settings, user_ids: pa.ChunkedArray, hour: str, until: str) -> NDArray[np.bool_]:
    """(n,) whether the user was in the gate fold at ``hour`` and as long as its rows could still be replayed or corrected."""
    last = min(until, shift(hour, max(24 * settings.ranker.replay_days, settings.reward.horizon_h)))
    at, kept = hour, in_gate_fold(settings, user_ids, last)
    while at < last:
        kept = kept & in_gate_fold(settings, user_ids, at)
        at = shift(at, 24 * settings.gates.fold_days)
    return kept


def _untouched(reader: ExampleReader, hour: str, until: str, at_most: int) -> pa.Table:
    ids = reader.examples.read([hour], pc.field("revision") == 0, ["example_id", "user_id", "negative_source"], hold=False)
    if holds_unshown(ids):
        return _none(reader)
    ids = ids.filter(pa.array(untouched(reader.settings, ids["user_id"], hour, until)))
    chance = uniform(reader.settings.seed, _ROW, id_hash(ids["example_id"].to_pylist())) if len(ids) else np.zeros(0)
    chosen = ids["example_id"].take(np.argsort(chance)[:at_most])
    where = (pc.field("revision") == 0) & pc.field("example_id").isin(chosen.combine_chunks())
    return reader.examples.read([hour], where, hold=False)


def _labels_of(reader: ExampleReader, example_ids: pa.ChunkedArray, hours: Sequence[str]) -> pa.Table:
    """The last labels of these examples, looked for hour by hour."""
    late = pc.field("revision") > 0
    parts = [reader.examples.read([hour], late, ["example_id", "revision", "labels"], hold=False) for hour in hours]
    kept = [part.filter(pc.is_in(part["example_id"], value_set=example_ids.combine_chunks())) for part in parts]
    return last_revisions(pa.concat_tables(kept or [_none(reader).select(["example_id", "revision", "labels"])]))


def _none(reader: ExampleReader) -> pa.Table:
    return reader.examples.read([], hold=False)
