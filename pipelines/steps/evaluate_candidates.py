"""Given candidate sets scored hour by hour by what the loop knew before each hour: recloop beside somebody's own system, on their log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from models.metrics import auc, auc_per_user, ndcg_at_k, normalized_entropy
from models.ranker import Ranker
from pipelines.errors import UserError
from pipelines.hours import parse_hour
from pipelines.lake import ledger
from pipelines.lake.snapshot import snapshot
from pipelines.settings import Settings
from pipelines.steps.ranker_learning import base_state
from spark_jobs.catalogue import Catalogue, build_catalogue, current_rows, item_state
from spark_jobs.ranker_inputs import cross_features, user_states

COLUMNS = ("impression_id", "user", "item", "ts", "label")
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class HourScores:
    """One hour's candidates: figures of the first task, and how many users and items the loop had never met. nan: one class only."""

    hour: str
    rows: int
    new_users: int
    unknown_items: int
    auc: float
    auc_per_user: float
    ndcg_10: float
    normalized_entropy: float


def evaluate_candidates(settings: Settings, source: Path, target: Path) -> list[HourScores]:
    """Scores every row of ``source`` (columns impression_id, user, item, ts, label) and writes impression_id, item, score, prob.

    An hour's rows see the features as known before it, and the ranker that has learned the hours before it and not this one: log
    odds ``score`` and ``prob`` of the domain's first task. Rows keep their order. Raises UserError for a file that is not one of
    candidates, and for an hour that has nothing before it.
    """
    table = _read(source)
    label, user = table["label"].to_numpy(), table["user"].to_numpy(zero_copy_only=False)
    impression = table["impression_id"].to_numpy(zero_copy_only=False)
    hours = pc.strftime(table["ts"], "%Y-%m-%dT%H").to_numpy(zero_copy_only=False)
    logits, found = np.zeros(len(table)), []
    for hour in sorted(set(hours)):
        rows = np.flatnonzero(hours == hour)
        view = _View.before(settings, hour)
        part = table.take(rows)
        logits[rows] = view.logits(part)
        own, truth = 1 / (1 + np.exp(-logits[rows])), label[rows]
        both = 0 < (truth >= 0.5).sum() < len(rows)
        by_user, top = auc_per_user(truth, own, user[rows]), ndcg_at_k(truth, own, impression[rows], 10)
        entropy = normalized_entropy(truth, own) if both else float("nan")
        new, unknown = view.new_users(part), view.unknown_items(part)
        found.append(HourScores(hour, len(rows), new, unknown, auc(truth, own), by_user, top, entropy))
    _write(table, logits, target)
    return found


@dataclass(frozen=True)
class _View:
    """What was known before an hour: ranker, catalogue, and the feature tables as they stood."""

    hour: str
    ranker: Ranker
    catalogue: Catalogue
    users: pa.Table
    items: pa.Table

    @classmethod
    def before(cls, settings: Settings, hour: str) -> "_View":
        state, known = base_state(settings, hour), ledger.newest_done(settings, "build_features", before=hour)
        if state is None or known is None:
            raise UserError(f"nothing was learned before {hour}; run the hours of your log first, or leave these candidates out")
        ranker, lake = state.served(), snapshot(settings, known.hour)
        names = ("items", "item_embeddings", "user_features", "item_features")
        items, vectors, users, item_features = (lake.read(settings, name) for name in names)
        catalogue = build_catalogue(current_rows(items), vectors, ranker.config.encoder_version)
        return cls(hour, ranker, catalogue, users, item_features)

    def logits(self, part: pa.Table) -> NDArray[np.float64]:
        """(n,) of the first task at the topmost position."""
        config, at = self.ranker.config, parse_hour(self.hour)
        place = pc.index_in(part["user"].combine_chunks(), value_set=self.users["user_id"].combine_chunks())
        items = item_state(self.catalogue, self.items, at, config.item_counters)
        rows = torch.from_numpy(self.catalogue.rows(part["item"].combine_chunks())).unsqueeze(1)
        found = []
        for start in range(0, len(part), _ROWS_AT_ONCE):
            users = self.users.take(place.slice(start, _ROWS_AT_ONCE))
            column = users.schema.get_field_index("as_of")
            known = pc.fill_null(users["as_of"], pa.scalar(at, users.schema.field(column).type))
            state = user_states(users.set_column(column, users.schema.field(column), known), self.catalogue, at, config.user_counters)
            some = rows[start : start + _ROWS_AT_ONCE]
            cross = cross_features(state, self.catalogue, some)
            found.append(self.ranker.score(state, some, self.catalogue.table, items, cross)[:, 0, 0].double().numpy())
        return np.concatenate(found)

    def new_users(self, part: pa.Table) -> int:
        known = pc.is_in(pc.unique(part["user"]), value_set=self.users["user_id"].combine_chunks())
        return int(pc.sum(pc.invert(known)).as_py() or 0)

    def unknown_items(self, part: pa.Table) -> int:
        return int((self.catalogue.rows(pc.unique(part["item"])) == 0).sum())


def _read(path: Path) -> pa.Table:
    if not path.exists():
        raise UserError(f"no file {path}; give a CSV, JSON Lines or Parquet file with the columns {', '.join(COLUMNS)}")
    try:
        table = _READERS.get(path.suffix, pyarrow.csv.read_csv)(str(path))
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}; expected CSV, JSON Lines or Parquet") from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise UserError(f"{path} has no column {missing[0]}; found {', '.join(table.column_names)}, expected {', '.join(COLUMNS)}")
    if not len(table):
        raise UserError(f"{path} holds no candidates")
    try:
        ts = table["ts"] if pa.types.is_timestamp(table["ts"].type) and table["ts"].type.tz else _times(table["ts"])
        values = [table[name].cast(pa.string()) for name in COLUMNS[:3]]
        values += [ts.cast(pa.timestamp("us", tz="UTC")), table["label"].cast(pa.float64())]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}; ts is ISO 8601 with an offset, label a number") from None
    if any(column.null_count for column in values):
        raise UserError(f"{path} has empty cells; every one of {', '.join(COLUMNS)} is needed in every row")
    return pa.table(dict(zip(COLUMNS, values, strict=True)))


def _times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Raises ValueError for a time without an offset."""
    parsed = [datetime.fromisoformat(str(text)) for text in column.to_pylist()]
    if naive := next((one for one in parsed if one.tzinfo is None), None):
        raise ValueError(f"time {naive.isoformat()} has no offset")
    return pa.chunked_array([pa.array(parsed, pa.timestamp("us", tz="UTC"))])


def _write(table: pa.Table, logits: NDArray[np.float64], target: Path) -> None:
    scored = table.select(["impression_id", "item"]).append_column("score", pa.array(logits))
    scored = scored.append_column("prob", pa.array(1 / (1 + np.exp(-logits))))
    unfinished = target.with_name(f".{target.name}.tmp")
    if target.suffix == ".parquet":
        pq.write_table(scored, unfinished)
    else:
        pyarrow.csv.write_csv(scored, unfinished)
    unfinished.replace(target)


_READERS = {".parquet": pq.read_table, ".jsonl": pyarrow.json.read_json, ".json": pyarrow.json.read_json}


def overall(found: Sequence[HourScores]) -> dict[str, float]:
    """Mean of each figure over the hours, weighted by rows; hours without it are left out."""
    names = ("auc", "auc_per_user", "ndcg_10", "normalized_entropy")
    weights = np.array([one.rows for one in found], dtype=float)
    values = {name: np.array([getattr(one, name) for one in found]) for name in names}
    return {name: float(np.average(v[~np.isnan(v)], weights=weights[~np.isnan(v)])) if (~np.isnan(v)).any() else float("nan")
            for name, v in values.items()}  # fmt: skip
