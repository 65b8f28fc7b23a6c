"""Training examples read from the lake as batches: an hour's fresh rows, a replay sample with final labels, gate rows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from models.records import RankerBatch
from pipelines.hours import hour_number, shift
from pipelines.lake.held import HeldHours
from pipelines.registry.judging import surface_rows
from pipelines.settings import Settings
from pipelines.steps.bots import bot_rows, without_bots
from pipelines.steps.folds import in_gate_fold
from spark_jobs.catalogue import Catalogue
from spark_jobs.ranker_inputs import KnownLikers, concatenated, examples_batch

REPLAY_HOURS, CALIBRATION_ROWS = 6, 65_536
_REPLAY_HOUR, _REPLAY_ROW = 52, 53  # streams of the hash


@dataclass(frozen=True)
class Rows:
    """Examples as a batch, with whose they are, the hour and the surface of each, and whether anything was known of the item."""

    batch: RankerBatch
    user_ids: pa.Array
    hours: NDArray[np.object_]
    surfaces: pa.Array
    known_item: NDArray[np.bool_]

    def slices(self) -> dict[str, NDArray[np.bool_]]:
        """Rows (n,) of users without a reaction and with, of items nobody had met and of others, and of each surface.

        What every row belongs to, or none, is left out.
        """
        known_user = self.batch.user.history.any(dim=1).numpy()
        found = {"cold users": ~known_user, "warm users": known_user, "cold items": ~self.known_item, "warm items": self.known_item}
        found |= {f"surface {surface}": rows for surface, rows in surface_rows(self.surfaces).items()}
        return {name: rows for name, rows in found.items() if rows.any() and not rows.all()}


@dataclass(frozen=True)
class Window:
    """The gates' window: rows that nobody learned from, and rows to calibrate by."""

    judging: Rows
    calibrating: RankerBatch


@dataclass(frozen=True)
class ExampleReader:
    """Reads ``training_examples`` at one version, for a ranker's input columns. ``poisoned`` hours teach nothing.

    ``fold_hour``: the hour whose gate fold judges, in place of each hour's own fold.
    """

    settings: Settings
    examples: HeldHours
    catalogue: Catalogue
    likers: KnownLikers
    names: tuple[str, ...]
    tasks: tuple[str, ...]
    poisoned: frozenset[str] = frozenset()
    fold_hour: str | None = None

    def teaching(self, hours: Sequence[str]) -> list[str]:
        """The hours that may teach."""
        return [hour for hour in hours if hour not in self.poisoned]

    def fresh(self, hour: str, gate: bool) -> Rows:
        """The revisions that arrived in the hour, of the gate fold or of the others; a late label counts once, net.

        Of an hour with more than ``ranker.rows_an_hour``, such as the first load of a long log, the rows of the newest events.
        """
        newest = self._newest(hour)
        table = without_bots(self.examples.read([hour], newest, hold=newest is None), self.tasks[0])
        return self._rows(table.filter(pa.array(self._fold(hour, gate)(table))), corrections=not gate)

    def _newest(self, hour: str) -> "pc.Expression | None":
        at_most = self.settings.ranker.rows_an_hour
        times = self._read([hour], columns=["ts"])["ts"].sort(order="descending")
        if len(times) <= at_most:
            return None
        return pc.field("ts") > times[at_most] if times[0] != times[at_most] else pc.field("ts") == times[0]

    def newest_rows(self, hour: str, columns: Sequence[str]) -> pa.Table:
        """These columns of what ``fresh`` reads of the hour, before bots and folds are taken out."""
        return self._read([hour], self._newest(hour), columns)

    def shown(self, hour: str) -> Rows:
        """Revision 0 of the hour's impressions, all users: what a test-then-train record is made of."""
        return self._rows(self.impressions(hour), corrections=False)

    def count(self, hours: Sequence[str]) -> int:
        """Examples that these hours hold."""
        return self._read(hours, columns=["hour"]).num_rows

    def sampled_negatives(self, hours: Sequence[str]) -> int:
        """Rows of these hours that nobody was shown: they were sampled for a log without impressions."""
        return self._read(hours, pc.field("negative_source") == "sampled", ["example_id"]).num_rows

    def window(self, hours: Sequence[str]) -> Window:
        """Impressions of these hours with the labels known by the last of them: the gate fold's, and a sample of the others'.

        Hours of a log that does not say what was shown judge nothing: what people did not react to there says little about what to show.
        """
        finals, last = self._final_labels(hours), hours[-1]
        gate, others = self._fold(last, gate=True), self._fold(last, gate=False)
        share = CALIBRATION_ROWS / max(1, self.count(hours))  # of every hour: rows of quiet hours are others than those of busy ones
        parts: list[tuple[pa.Table, pa.Table]] = []
        for hour in hours:
            table = self.impressions(hour)
            if holds_unshown(table):
                table = table.slice(0, 0)
            parts.append((self._final(table, finals, gate), self._final(table, finals, others, math.ceil(share * len(table)))))
        judging, calibrating = (self._rows(pa.concat_tables(tables), corrections=False) for tables in zip(*parts, strict=True))
        return Window(judging, calibrating.batch)

    def replay(self, before: str, rows: int) -> RankerBatch | None:
        """About ``rows`` earlier impressions of the other users from some hours of the last days, with final labels."""
        if rows < 1:
            return None
        settings, first_load = self.settings, self.settings.lake.start_hour
        oldest = shift(before, -24 * settings.ranker.replay_days)
        hours = self.teaching([hour for hour in self.examples.hours if oldest <= hour < before and hour != first_load])
        chance = {hour: float(uniform(settings.seed, _REPLAY_HOUR, hour_number(before), hour_number(hour))) for hour in hours}
        chosen = sorted(sorted(hours, key=chance.__getitem__)[:REPLAY_HOURS])
        if not chosen:
            return None
        finals = self._final_labels([*chosen, shift(before, -1)])
        others = self._fold(before, gate=False)
        parts = [self._final(self.impressions(hour), finals, others, rows // len(chosen)) for hour in chosen]
        capped = _at_most_per_user_day(pa.concat_tables(parts), settings.ranker.replay_per_user_day)
        return self._rows(capped, corrections=False).batch

    def bot_rows(self, hours: Sequence[str]) -> int:
        """Examples of these hours that teach and judge nothing, since no person makes so many or clicks so often."""
        columns = ["user_id", "ts", "labels", "negative_source"]
        return sum(int(bot_rows(self._read([hour], columns=columns), self.tasks[0]).sum()) for hour in hours)

    def impressions(self, hour: str) -> pa.Table:
        """Revision 0 of what people were shown in the hour."""
        return without_bots(self._read([hour], pc.field("revision") == 0), self.tasks[0])

    def _fold(self, hour: str, gate: bool) -> "Callable[[pa.Table], NDArray[np.bool_]]":
        return lambda table: in_gate_fold(self.settings, table["user_id"], self.fold_hour or hour) == gate

    def _read(self, hours: Sequence[str], where: "pc.Expression | None" = None, columns: Sequence[str] | None = None) -> pa.Table:
        return self.examples.read(hours, where, columns)

    def _final_labels(self, hours: Sequence[str]) -> pa.Table:
        """example_id, revision, labels of the last revision of every example that got one between these hours."""
        span = self.teaching([hour for hour in self.examples.hours if hours[0] <= hour <= hours[-1]])
        return last_revisions(self._read(span, pc.field("revision") > 0, ["example_id", "revision", "labels"]))

    def _final(
        self, table: pa.Table, finals: pa.Table, keep: "Callable[[pa.Table], NDArray[np.bool_]]", at_most: int | None = None
    ) -> pa.Table:
        """The kept rows (a hashed sample where there are more than ``at_most``) with their last labels."""
        table = table.filter(pa.array(keep(table)))
        if at_most is not None and len(table) > at_most:
            order = np.argsort(uniform(self.settings.seed, _REPLAY_ROW, id_hash(table["example_id"].to_pylist())))
            table = table.take(np.sort(order[:at_most]))
        return with_labels(table, finals)

    def rows(self, table: pa.Table) -> Rows:
        """Rows of the table, each once with its labels."""
        return self._rows(table, corrections=False)

    def _rows(self, table: pa.Table, corrections: bool) -> Rows:
        batch = examples_batch(table.combine_chunks(), self.catalogue, self.names, self.tasks, self.likers, corrections=corrections)
        users, surfaces = (table[name].combine_chunks() for name in ("user_id", "surface"))
        return Rows(batch, users, table["hour"].to_numpy(), surfaces, table["item_first_seen"].is_valid().to_numpy())


def holds_unshown(examples: pa.Table) -> bool:
    """Whether these rows of one hour come from a log without impressions: some of them stand for what people did not take to.

    Where that hour has no positive, none was sampled, and rows that were rated low are all there is.
    """
    return len(examples) > examples["negative_source"].null_count


def last_revisions(found: pa.Table) -> pa.Table:
    """Of rows (example_id, revision, labels) the last revision of each example."""
    order = found.sort_by([("example_id", "ascending"), ("revision", "descending")])
    ids = order["example_id"].to_numpy(zero_copy_only=False)
    return order.filter(pa.array(np.concatenate([[True], ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, bool)))


def with_labels(table: pa.Table, finals: pa.Table) -> pa.Table:
    """The rows with their last labels, where ``finals`` has any."""
    if not len(table) or not len(finals):
        return table
    place = pc.index_in(table["example_id"], value_set=finals["example_id"].combine_chunks())
    both = pa.concat_arrays([table["labels"].combine_chunks(), finals["labels"].combine_chunks()])
    row = pc.if_else(pc.is_valid(place), pc.add(pc.fill_null(place, 0), len(table)), pa.array(np.arange(len(table), dtype=np.int32)))
    place_of_labels = table.schema.get_field_index("labels")
    return table.set_column(place_of_labels, table.schema.field(place_of_labels), both.take(row.combine_chunks()))


def joined(batches: Sequence[RankerBatch | None]) -> RankerBatch:
    """All rows of the batches that are there, at least one."""
    return concatenated([batch for batch in batches if batch is not None])


def _at_most_per_user_day(table: pa.Table, limit: int) -> pa.Table:
    keys = pa.array([f"{user} {hour[:10]}" for user, hour in zip(table["user_id"].to_pylist(), table["hour"].to_pylist(), strict=True)])
    codes = keys.dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(codes[order]) != 0])) if len(codes) else np.zeros(0, int)
    rank = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    return table.take(np.sort(order[rank < limit]))
