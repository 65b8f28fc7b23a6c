"""An hour as its users: one row each, with the mean of every figure that is watched for drift. Read by delta-rs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from pipelines.hours import end_of
from pipelines.lake.tables import read_fields, read_table
from pipelines.settings import Settings
from pipelines.steps.bots import without_bots
from pipelines.steps.example_batches import holds_unshown
from spark_jobs.catalogue import current_rows
from spark_jobs.contracts import DEFAULT_USER

MOST_USERS = 20_000  # of an hour with more, a hashed sample: a drift that these do not show is none to speak of
HALF_LIFE_H = 24  # of the counters that are watched
_SAMPLE = 61  # stream of the hash


@dataclass(frozen=True)
class ItemDates:
    """Of every item, by row: the hour that it landed in, when it was published (null where unknown), whether it can be had."""

    ids: pa.Array
    landed: pa.Array
    published: pa.Array
    available: NDArray[np.bool_]

    @classmethod
    def read(cls, settings: Settings, version: int) -> "ItemDates":
        history = read_table(settings, "items", version=version, columns=["item_id", "updated_hour", "published_at", "available"])
        first = history.group_by("item_id").aggregate([("updated_hour", "min")]).sort_by("item_id")
        rows = current_rows(history).combine_chunks()
        landed, ids, published = (
            column.combine_chunks() for column in (first["updated_hour_min"], rows["item_id"], rows["published_at"])
        )
        return cls(ids, landed, published, rows["available"].to_numpy())

    def age_h(self, item_ids: pa.ChunkedArray, first_seen: pa.ChunkedArray, hour: str) -> NDArray[np.float64]:
        """(n,) hours from publication, else from the item's first event, to the hour's end; 0 where neither is known."""
        published = self.published.take(pc.index_in(item_ids.combine_chunks(), value_set=self.ids))
        since = pc.coalesce(published, first_seen.combine_chunks().cast(published.type))
        at_us = int(end_of(hour).timestamp() * 1e6)
        age_us = np.nan_to_num(at_us - pc.cast(since, pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64))
        return np.asarray(np.maximum(0.0, age_us) / 3.6e9)


def figures_of_examples(settings: Settings, hour: str, version: int, dates: ItemDates) -> pa.Table | None:
    """Of the impressions as they were known in the hour: log counters of user and items, log age of the items, share of labels, reward.

    None of an hour that does not say what was shown.
    """
    tasks = settings.reward.tasks
    counters = [f"{name}_{HALF_LIFE_H}h" for name in ("impressions", *(f"{task}s" for task in tasks), "reward")]
    plain = ("user_id", "item_id", "ts", "labels", "negative_source", "revision", "reward", "item_first_seen")
    paths: dict[str, tuple[str, ...]] = {name: (name,) for name in plain}
    nested = [f"{whose} {name}" for whose in ("user", "item") for name in counters]
    rows = read_fields(settings, "training_examples", hour, version, paths | {name: tuple(name.split()) for name in nested})
    rows = without_bots(rows.filter(pc.equal(rows["revision"], 0)), tasks[0])
    if not len(rows) or holds_unshown(rows):
        return None
    labels = rows["labels"].combine_chunks()
    figures = {name: _log(_numbers(rows[name])) for name in nested}
    figures["item age_h"] = _log(dates.age_h(rows["item_id"], rows["item_first_seen"], hour))
    figures |= {f"label {task}": (_numbers(pc.struct_field(labels, task)) > 0).astype(float) for task in tasks}
    return _per_user(settings, rows["user_id"], figures | {"label reward": _numbers(rows["reward"])})


def figures_of_scores(settings: Settings, hour: str, version: int) -> pa.Table | None:
    """Of the slates that the hour drew: the score of their items, and what drew them; the default slate is nobody's. None of no slate."""
    fields = {name: (name,) for name in ("user_id", "score", "source")}
    rows = read_fields(settings, "slate_log", hour, version, fields)
    rows = rows.filter(pc.not_equal(rows["user_id"], DEFAULT_USER))
    if not len(rows):
        return None
    found = _per_user(settings, rows["user_id"], {"score": _numbers(rows["score"])})
    first = pc.index_in(found["user_id"].combine_chunks(), value_set=rows["user_id"].combine_chunks())
    return found.append_column("source of the slate", rows["source"].take(first))


def _per_user(settings: Settings, user_ids: pa.ChunkedArray, figures: Mapping[str, NDArray[np.float64]]) -> pa.Table:
    encoded = user_ids.combine_chunks().dictionary_encode()
    user, ids = encoded.indices.to_numpy(), encoded.dictionary
    rows = np.bincount(user)
    table = pa.table({"user_id": ids} | {name: np.bincount(user, values) / rows for name, values in figures.items()})
    if len(ids) <= MOST_USERS:
        return table
    return table.filter(pa.array(uniform(settings.seed, _SAMPLE, id_hash(ids.to_pylist())) < MOST_USERS / len(ids)))


def _numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    """What is missing is 0."""
    return np.nan_to_num(np.asarray(column, dtype=np.float64))


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """As the ranker takes them: a few large counters would else be a user's whole mean."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))
