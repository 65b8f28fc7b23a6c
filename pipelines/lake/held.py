"""Hours of a table kept in memory while a reader walks along them: each hour's files are opened once."""

from collections import OrderedDict
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipelines.lake.tables import hours_dataset, opened
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES

HELD_BYTES = 2**29


class HeldHours:
    """A table that is partitioned by hour, at one version. Whole hours that were read stay, up to ``HELD_BYTES`` of the newest read."""

    def __init__(self, settings: Settings, name: str, version: int | None = None) -> None:
        self._table = opened(settings, name, version)
        self.name, self.version = name, self._table.version()
        self.hours: Sequence[str] = sorted({part["hour"] for part in self._table.partitions()})
        self._held: OrderedDict[str, pa.Table] = OrderedDict()
        self._bytes: dict[str, int] = {}

    def read(
        self, hours: Sequence[str], where: "pc.Expression | None" = None, columns: Sequence[str] | None = None, hold: bool = True
    ) -> pa.Table:
        """Rows of these hours. With ``columns`` or without ``hold``, of an hour that is not held no more is read than was asked for."""
        wanted = sorted(set(hours) & set(self.hours))
        missing = [hour for hour in wanted if hour not in self._held]
        parts = [TABLES[self.name].schema.empty_table().select(columns or TABLES[self.name].schema.names)]
        if missing and (columns is not None or not hold):
            found = hours_dataset(self._table, self.name, missing).to_table(columns=list(columns) if columns else None, filter=where)
            parts, wanted = [found], [hour for hour in wanted if hour in self._held]
        for hour in wanted:
            parts.append(_part(self._hour(hour), where, columns))
        self._forget()
        return pa.concat_tables(parts, promote_options="default")

    def _hour(self, hour: str) -> pa.Table:
        if hour not in self._held:
            self._held[hour] = hours_dataset(self._table, self.name, [hour]).to_table()
            self._bytes[hour] = self._held[hour].nbytes  # of nested columns it takes a millisecond a table
        self._held.move_to_end(hour)
        return self._held[hour]

    def _forget(self) -> None:
        size = sum(self._bytes.values())
        while size > HELD_BYTES:
            size -= self._bytes.pop(self._held.popitem(last=False)[0])


def _part(table: pa.Table, where: "pc.Expression | None", columns: Sequence[str] | None) -> pa.Table:
    """The columns of the rows that ``where`` keeps; mostly it keeps all or none, and to copy nested rows takes most of a reader's time."""
    part = table if columns is None else table.select(columns)
    if where is None:
        return part
    kept = pc.fill_null(ds.dataset(table).to_table(columns={"kept": where})["kept"], False)
    count = pc.sum(kept, min_count=0).as_py()
    return part if count == len(part) else part.slice(0, 0) if count == 0 else part.filter(kept)
