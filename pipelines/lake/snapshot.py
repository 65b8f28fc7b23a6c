"""The lake as of an hour: the table versions that belong together, by the ledger, and reads at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.tables import read_table, table_path
from pipelines.settings import Settings
from spark_jobs.contracts import TABLES

STATE = "build_features"  # its row says that all source and feature tables of the hour are there


@dataclass(frozen=True)
class Snapshot:
    """``versions`` of the tables when ``hour`` was finished: for each the newest commit of that hour's or an earlier hour's steps."""

    hour: str
    versions: Mapping[str, int]

    def read(
        self, settings: Settings, name: str, *, columns: Sequence[str] | None = None, where: "pc.Expression | None" = None
    ) -> pa.Table:
        """Rows of the table as they were: none of a later hour, whatever was written since.

        Raises UserError where no step up to the hour wrote the table, or its files are past retention.
        """
        table_path(settings, name)
        if name not in self.versions:
            raise UserError(f"no step up to {self.hour} wrote {name}; tables of that hour: {', '.join(sorted(self.versions))}")
        for key in ("hour", "updated_hour"):
            if key in TABLES[name].schema.names:
                until = pc.field(key) <= self.hour
                where = until if where is None else until & where
        try:
            return read_table(settings, name, version=self.versions[name], columns=columns, where=where)
        except (DeltaError, OSError) as error:
            raise UserError(
                f"{name} as of {self.hour} (version {self.versions[name]}) is past retention: {str(error).splitlines()[0]}; "
                "`recloop maintain --dry-run` names the oldest hour that can be read"
            ) from None


def snapshot(settings: Settings, hour: str) -> Snapshot:
    """Raises UserError for an hour that is not finished, or was written in one pass with later hours: then its state is not apart."""
    history = [row for row in ledger.rows(settings) if row.status == "done"]
    finished = [row for row in history if row.step == STATE and row.hour == hour]
    if not finished:
        newest = ledger.newest_hour(settings, STATE)
        raise UserError(f"hour {hour} is not finished; {f'the newest finished hour is {newest}' if newest else 'no hour is'}")
    if (end := ledger.pass_end(settings, finished[-1])) > hour:
        raise UserError(
            f"the features before {end} were made in one pass with those of {hour}, so they cannot be told apart; read as of {end}, "
            "or bring the hours in one by one with `recloop backfill`"
        )
    versions: dict[str, tuple[str, int]] = {}
    for row in history:
        for table, version in row.outputs.items():
            if row.step == ledger.SET_ASIDE:
                versions.pop(table, None)
            elif row.hour <= hour and row.hour >= versions.get(table, ("", 0))[0]:
                versions[table] = (row.hour, version)
    return Snapshot(hour, {table: version for table, (_, version) in sorted(versions.items())})
