"""A Parquet file of logged decisions, and what another policy would have done, as batches for ``models.ope``.

One row a decision; a log with ``slate_id`` and ``position`` holds slates, one row an item, the rows of a slate together.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.ope import Evaluation, LoggedActions, LoggedSlateArrays, Result, verdict
from models.ope.estimators import OF_ACTIONS, Knobs
from models.ope.intervals import MOST_UNITS
from pipelines.errors import UserError

KEYS = ("slate_id", "position", "decision_id")  # where both files have one of them it must agree row by row
NEEDED = ("reward", "propensity", "target_propensity")
MODEL, MARGINALS = ("predicted", "expected"), ("marginal", "target_marginal")
OPTIONAL = ("user", *MODEL, *MARGINALS, "outside")
BEST = ("cascade_dr", "rips", "doubly_robust", "snipw", "ipw")  # whose difference is put in words, the first that is there
_ROWS_AT_ONCE = 65_536

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DecisionLog:
    """``policy``: a second file of the same rows in the same order; its columns stand for those of the log. Raises UserError."""

    path: Path
    policy: Path | None = None

    def __post_init__(self) -> None:
        if missing := [name for name in NEEDED if name not in self.columns]:
            files = f"{self.path} and {self.policy}" if self.policy else str(self.path)
            raise UserError(f"{files}: no column {missing[0]}; found {', '.join(sorted(self.columns))}, expected {', '.join(NEEDED)}")
        if self.policy is not None and (rows := [_metadata(path).num_rows for path in (self.path, self.policy)])[0] != rows[1]:
            raise UserError(f"{self.path} has {rows[0]:,} rows, {self.policy} {rows[1]:,}; give the policy's row for each row of the log")

    @cached_property
    def columns(self) -> set[str]:
        names = {*_names(self.path), *(_names(self.policy) if self.policy else ())}
        return names & {*NEEDED, *OPTIONAL, *KEYS}

    @property
    def holds_slates(self) -> bool:
        return {"slate_id", "position"} <= self.columns

    def estimators(self) -> tuple[str, ...]:
        """All that the columns allow."""
        model, marginals = (set(names) <= self.columns for names in (MODEL, MARGINALS))
        if self.holds_slates:
            return ("sips", *(["iips"] if marginals else []), "rips", *(["cascade_dr"] if model else []))
        return tuple(name for name in OF_ACTIONS if model or name in ("ipw", "snipw"))

    def batches(self) -> Iterator[LoggedActions | LoggedSlateArrays]:
        """Memory is that of a batch and the numbers of the users. Raises UserError for a row that cannot count."""
        numbers: dict[object, int] = {}
        first = 0
        for table in self._slates() if self.holds_slates else self._tables():
            with _explained(f"{self.path}, rows {first:,} to {first + len(table) - 1:,}"):
                yield self._record(table, first, numbers)
            first += len(table)

    def _record(self, table: pa.Table, first: int, numbers: dict[object, int]) -> LoggedActions | LoggedSlateArrays:
        columns = {name: _floats(table[name]) for name in (*NEEDED, *MODEL, *MARGINALS, "outside") if name in table.column_names}
        if not self.holds_slates:
            own = {name: values for name, values in columns.items() if name not in MARGINALS}
            return LoggedActions(**own, user=_numbered(table, first, numbers))
        slate = _starts(table).cumsum() - 1
        position = table["position"].to_numpy()
        heads = table.filter(pa.array(_starts(table)))
        wide = {name: np.full((len(heads), int(position.max()) + 1), np.nan) for name in columns if name != "outside"}
        for name, grid in wide.items():
            grid[slate, position] = columns[name]
        shown = np.zeros_like(wide["reward"], dtype=bool)
        shown[slate, position] = True
        outside = {"outside": _floats(heads["outside"])} if "outside" in columns else {}
        return LoggedSlateArrays(**wide, shown=shown, user=_numbered(heads, first, numbers), **outside)

    def _tables(self) -> Iterator[pa.Table]:
        """The columns of both files, a batch at a time."""
        own = _read(self.path, self.columns)
        if self.policy is None:
            yield from own
            return
        first = 0
        for log, policy in zip(own, _read(self.policy, self.columns), strict=True):
            for name in (name for name in KEYS if name in log.column_names and name in policy.column_names):
                differ = pc.fill_null(pc.not_equal(log[name], policy[name].cast(log[name].type)), True)
                if (row := pc.index(differ, True).as_py()) >= 0:
                    found = f"{log[name][row]} against {policy[name][row]}"
                    both = f"row {first + row:,} of {self.path} and of {self.policy}"
                    raise UserError(f"{both} differ in {name}: {found}; give the same order")
            yield pa.table({**dict(zip(log.column_names, log.columns, strict=True)),
                            **dict(zip(policy.column_names, policy.columns, strict=True))})  # fmt: skip
            first += len(log)

    def _slates(self) -> Iterator[pa.Table]:
        """Batches that end with a slate's last row."""
        left = None
        for table in self._tables():
            table = pa.concat_tables([left, table]) if left is not None else table
            last = int(np.flatnonzero(_starts(table))[-1])
            left, whole = table.slice(last), table.slice(0, last)
            if len(whole):
                yield self._checked(whole)
        if left is not None:
            yield self._checked(left)

    def _checked(self, table: pa.Table) -> pa.Table:
        """Raises UserError where the rows of a slate lie apart, or are not its positions from the top."""
        starts = _starts(table)
        wanted = np.arange(len(table)) - np.maximum.accumulate(np.where(starts, np.arange(len(table)), 0))
        if (wrong := table["position"].to_numpy() != wanted).any():
            row = int(np.flatnonzero(wrong)[0])
            found = f"slate {table['slate_id'][row]} has position {table['position'][row]} where {wanted[row]} was expected"
            raise UserError(f"{self.path}: {found}; a slate's rows lie together, from position 0 down, without gaps")
        return table


@dataclass(frozen=True)
class Judged:
    """``verdict`` is on ``by``'s difference to what the log earned."""

    result: Result
    by: str
    verdict: str
    unit: str


def judged(path: Path, policy: Path | None, estimators: tuple[str, ...], clip: float, margin: float, uniform: bool) -> Judged:
    """Everything of ``recloop ope``. Raises UserError for a log that cannot judge."""
    log = DecisionLog(path, policy)
    names = estimators or log.estimators()
    with _explained(str(path)):
        evaluation = Evaluation(*names, knobs=Knobs(clip=clip), uniform=uniform)
        for batch in log.batches():
            evaluation.add(batch)
        found = evaluation.result()
    by = next((name for name in BEST if name in names), names[0])
    return Judged(found, by, verdict(found, by, margin), "slate" if log.holds_slates else "decision")


def _names(path: Path) -> Sequence[str]:
    return [str(name) for name in _metadata(path).schema.to_arrow_schema().names]


def _metadata(path: Path) -> pq.FileMetaData:
    if not path.is_file():
        raise UserError(f"no file {path}; give a Parquet file of logged decisions")
    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _read(path: Path, columns: set[str]) -> Iterator[pa.Table]:
    """Tables of _ROWS_AT_ONCE rows, but the last one."""
    names = [name for name in _names(path) if name in columns]
    left: list[pa.Table] = []
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)  # else it holds a whole row group's bytes, often the whole file
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
        left.append(pa.Table.from_batches([batch]))
        while (rows := sum(map(len, left))) >= _ROWS_AT_ONCE:
            whole = pa.concat_tables(left)
            yield whole.slice(0, _ROWS_AT_ONCE)
            left = [whole.slice(_ROWS_AT_ONCE)] if rows > _ROWS_AT_ONCE else []
    if left:
        yield pa.concat_tables(left)


def _floats(column: pa.ChunkedArray) -> Floats:
    """A missing value is nan: the record counts it."""
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def _starts(table: pa.Table) -> NDArray[np.bool_]:
    """(rows,) True at a slate's first row."""
    ids = table["slate_id"].combine_chunks()
    changes = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False) if len(ids) > 1 else np.zeros(0, dtype=bool)
    return np.concatenate([[True], changes.astype(bool)])


def _numbered(table: pa.Table, first: int, numbers: dict[object, int]) -> NDArray[np.int64]:
    """A number for each user; without users every row is one, and of many some are taken together."""
    if "user" not in table.column_names:
        return np.arange(first, first + len(table), dtype=np.int64) % MOST_UNITS
    coded = table["user"].combine_chunks().dictionary_encode()
    own = np.array([numbers.setdefault(one, len(numbers)) for one in coded.dictionary.to_pylist()], dtype=np.int64)
    if coded.null_count:
        raise ValueError(f"{coded.null_count:,} rows have no user; leave the column out where users are not known")
    return np.asarray(own[coded.indices.to_numpy()])


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from None
