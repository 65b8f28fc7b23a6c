"""The contract of every table: one Arrow schema each, with kind, key, engine, partition and retention. Imports no Spark."""

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

REACTIONS = ("view", "click", "cart", "purchase", "watch", "rating", "like", "comment", "share", "hide")
COUNTED = ("impressions", *(f"{reaction}s" for reaction in REACTIONS), "reward")
HALF_LIVES_H = (1, 24, 168, 720)
COUNTERS = tuple(f"{name}_{half_life}h" for name in COUNTED for half_life in HALF_LIVES_H)
HISTORY = 50  # items that the ranker attends to
MET = 500  # items that are kept of a user: when last, how strongly and how often
DEFAULT_USER = "__default__"

_ts = pa.timestamp("us", tz="UTC")
_text, _f64, _i64, _i32 = pa.string(), pa.float64(), pa.int64(), pa.int32()


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


counters = [pa.field(name, _f64) for name in COUNTERS]
_first_seen = pa.field("first_seen", _ts)  # the earliest event that counted
recent = pa.list_(pa.struct([("ts", _ts), ("event_id", _text), ("item_id", _text), ("weight", _f64), ("times", _f64)]))
likers = pa.list_(pa.struct([("bucket", _i32), ("amount", _i32)]))  # who took to an item: models/likers.py
known_history = pa.list_(pa.struct([("ts", _ts), ("item_id", _text), ("weight", _f64)]))
met = pa.struct([("ts", _ts), ("times", _f64)])
labels = pa.struct([(reaction, _f64) for reaction in REACTIONS])
versions = pa.struct([("encoder", _text), ("ranker", _text), ("policy", _text)])
gate_figures = pa.list_(
    pa.struct([("gate", _text), ("outcome", _text), ("value", _f64), ("low", _f64), ("high", _f64), ("bound", _f64), ("n", _i64)])
)
landing_files = pa.list_(pa.struct([("path", _text), ("size", _i64), ("sha256", _text), ("kind", _text), ("after_hour", _text)]))
table_version = pa.list_(pa.struct([("table", _text), ("version", _i64)]))


@dataclass(frozen=True)
class Table:
    """What a table promises. ``meaning``: what a row says; ``checks``: Delta CHECK constraints; ``promises``: what readers may build on."""

    name: str
    kind: Literal["source", "derived", "control"]
    key: tuple[str, ...]
    meaning: str
    schema: pa.Schema
    engine: Literal["spark", "delta-rs"] = "spark"
    partition: tuple[str, ...] = ()
    retention_days: int = 90
    owner: str = "data-engineering"
    checks: dict[str, str] = field(default_factory=dict)
    promises: tuple[str, ...] = ()


_TABLES = [
    Table(
        "impressions", "source", ("event_id",),
        "What was shown: one item at one position, to one user.",
        pa.schema([
            _required("event_id", _text), pa.field("request_id", _text), pa.field("slate_id", _text),
            _required("user_id", _text), _required("item_id", _text), _required("position", _i32), _required("ts", _ts),
            pa.field("surface", _text), pa.field("query", _text), pa.field("context", pa.map_(_text, _text)),
            pa.field("propensity", _f64), pa.field("policy_version", _text), _required("hour", _text),
        ]),
        partition=("hour",), retention_days=400,
        checks={"propensity_range": "propensity IS NULL OR (propensity > 0 AND propensity <= 1)", "position_range": "position >= 0"},
    ),
    Table(
        "feedback", "source", ("event_id",),
        "What people did: one reaction to one item.",
        pa.schema([
            _required("event_id", _text), pa.field("request_id", _text), _required("user_id", _text),
            _required("item_id", _text), _required("ts", _ts), _required("type", _text), pa.field("value", _f64),
            _required("hour", _text),
        ]),
        partition=("hour",), retention_days=400,
        checks={"value_finite": "value IS NULL OR (value >= 0 AND NOT isnan(value))"},
    ),
    Table(
        "quarantine", "source", ("hour", "source_file", "line"),
        "Records that were refused, byte for byte, each with its reason.",
        pa.schema([
            pa.field("raw", pa.binary()), _required("reason", _text), pa.field("detail", _text),
            _required("source_file", _text), _required("line", _i64), _required("hour", _text),
        ]),
        partition=("hour",), retention_days=400,
    ),
    Table(
        "items", "source", ("item_id", "updated_hour"),
        "The catalogue as a history; the current state of an item is its last row.",
        pa.schema([
            _required("item_id", _text), _required("updated_hour", _text), _required("title", _text), pa.field("text", _text),
            pa.field("tags", pa.list_(_text)), pa.field("category", _text), pa.field("price", _f64),
            pa.field("attributes", pa.map_(_text, _text)), pa.field("published_at", _ts),
            pa.field("image_vector", pa.list_(pa.float32())), _required("available", pa.bool_()),
        ]),
        retention_days=400,
    ),
    Table(
        "item_embeddings", "derived", ("item_id", "encoder_version"),
        "The text vector of an item by one encoder; an unchanged text is never encoded again.",
        pa.schema([
            _required("item_id", _text), _required("encoder_version", _text), _required("text_hash", _text),
            _required("vector", pa.list_(pa.float32())),
        ]),
        owner="data-science", retention_days=400,
    ),
    Table(
        "query_embeddings", "derived", ("query", "encoder_version"),
        "The text vector of what somebody searched for, by one encoder.",
        pa.schema([_required("query", _text), _required("encoder_version", _text), _required("vector", pa.list_(pa.float32()))]),
        owner="data-science", retention_days=400,
    ),
    Table(
        "user_hour", "derived", ("user_id", "hour"),
        "What one hour added to the state of a user, decayed to the hour's end.",
        pa.schema([
            _required("user_id", _text), _required("as_of", _ts), _first_seen, *counters, pa.field("recent", recent),
            _required("hour", _text),
        ]),
        partition=("hour",),
    ),
    Table(
        "item_hour", "derived", ("item_id", "hour"),
        "What one hour added to the state of an item, decayed to the hour's end.",
        pa.schema([
            _required("item_id", _text), _required("as_of", _ts), _first_seen, *counters, pa.field("likers", likers),
            _required("hour", _text),
        ]),
        partition=("hour",),
    ),
    Table(
        "user_features", "derived", ("user_id",),
        "The fold of all increments of a user up to one hour: what scoring knows.",
        pa.schema([_required("user_id", _text), _required("as_of", _ts), _first_seen, *counters, pa.field("recent", recent)]),
        retention_days=7,
    ),
    Table(
        "item_features", "derived", ("item_id",),
        "The fold of all increments of an item up to one hour: what scoring knows.",
        pa.schema([_required("item_id", _text), _required("as_of", _ts), _first_seen, *counters, pa.field("likers", likers)]),
        retention_days=7,
    ),
    Table(
        "training_examples", "derived", ("example_id", "revision"),
        "What was known before an impression's hour, and what came of it; late feedback adds a revision.",
        pa.schema([
            _required("example_id", _text), _required("revision", _i32), _required("user_id", _text), _required("item_id", _text),
            _required("ts", _ts), _required("known_at", _ts), _required("position", _i32), pa.field("surface", _text),
            pa.field("query", _text), pa.field("slate_id", _text), pa.field("propensity", _f64), pa.field("negative_source", _text),
            _required("labels", labels), pa.field("previous_labels", labels), _required("reward", _f64),
            _required("reward_version", _text), _required("user", pa.struct([*counters, pa.field("recent", known_history)])),
            pa.field("met", met), _required("item", pa.struct(counters)), pa.field("item_first_seen", _ts), _required("hour", _text),
        ]),
        partition=("hour",), owner="data-science",
    ),
    Table(
        "slate_decisions", "source", ("slate_id",),
        "A draw as it was made: candidates, logits, the policy's inputs, and what was chosen.",
        pa.schema([
            _required("slate_id", _text), _required("user_id", _text), _required("surface", _text), _required("hour", _text),
            _required("candidates", pa.list_(_text)), _required("logits", pa.list_(_f64)), _required("action", pa.list_(_i32)),
            _required("propensities", pa.list_(_f64)), _required("scores", pa.list_(_f64)), pa.field("nearest_seen", pa.list_(_text)),
            _required("user_vector", pa.list_(pa.float32())), _required("candidate_features", pa.list_(pa.float32())),
            _required("temperature", _f64), _required("rules", _text), _required("seed", _i64), _required("arm", _text),
            _required("arm_share", _f64), _required("source", _text), _required("release_id", _text), _required("versions", versions),
            _required("feature_versions", table_version),
            pa.field("offsets", pa.list_(_f64)), pa.field("categories", pa.list_(_i32)), pa.field("category_cap", _i32),
            pa.field("pinned", pa.list_(_i32)),
        ]),
        partition=("hour",), owner="data-science",
    ),
    Table(
        "slate_log", "source", ("slate_id", "position"),
        "The slates by position, logged before they are published; what users were shown joins here.",
        pa.schema([
            _required("slate_id", _text), _required("position", _i32), _required("user_id", _text), _required("surface", _text),
            _required("item_id", _text), _required("propensity", _f64), _required("score", _f64), _required("source", _text),
            _required("hour", _text),
        ]),
        partition=("hour",), checks={"propensity_range": "propensity > 0 AND propensity <= 1"},
    ),
    Table(
        "scores", "derived", ("user_id", "surface", "position"),
        "The recommendations in force now: what downstream jobs read.",
        pa.schema([
            _required("user_id", _text), _required("surface", _text), _required("position", _i32), _required("item_id", _text),
            _required("score", _f64), _required("propensity", _f64), _required("slate_id", _text), _required("arm", _text),
            _required("source", _text), pa.field("reason", _text), _required("release_id", _text), _required("versions", versions),
            _required("hour", _text), _required("generated_at", _ts),
        ]),
        retention_days=7, checks={"propensity_range": "propensity > 0 AND propensity <= 1"},
        promises=(
            "Checked before each commit, or nothing is published: a user has one slate on a surface, of at most `slates.size` different "
            "items that the catalogue holds, that are available and that no business rule blocks; `score` is finite; there is a slate of "
            "`__default__`, for everybody who has none.",
            "`position` is the one that the item was drawn at. Of a draw they are 0..n-1. After a roll-back or a repair, slates are "
            "published again less what is hidden by now, and **positions may have gaps**: show the rows in their order, and log each row's "
            "own number. `propensity` is that of the draw, given the items drawn above it, those left out included.",
            "One commit changes what differs and nothing else, and the change feed tells it. `generated_at` is when the row last changed; "
            "a row that differs in it alone stays.",
        ),
    ),
    Table(
        "releases", "control", ("release_id",),
        "One row a release decision: which versions, what was decided, by which figures, and from when on.",
        pa.schema([
            _required("release_id", _text), _required("hour", _text), _required("versions", versions), _required("kind", _text),
            pa.field("lineage", _text), _required("stage", _text), _required("decided_by", _text),
            pa.field("reasons", pa.list_(_text)), pa.field("gates", gate_figures), pa.field("compared_with", _text),
            _required("since", _text), _required("decided_at", _ts),
        ]),
        engine="delta-rs", owner="data-science", retention_days=400,
    ),
    Table(
        "metrics", "control", ("hour", "name", "subject", "slice"),
        "One figure of an hour, with its interval and what it rests on.",
        pa.schema([
            _required("hour", _text), _required("name", _text), _required("subject", _text), _required("slice", _text),
            pa.field("value", _f64), pa.field("low", _f64), pa.field("high", _f64), pa.field("n", _i64), pa.field("model_version", _text),
        ]),
        engine="delta-rs", partition=("hour",), owner="data-science", retention_days=400,
    ),
    Table(
        "ledger", "control", ("hour", "step", "attempt"),
        "One row an attempt of a step: what it read, wrote and took, and how it ended.",
        pa.schema([
            _required("hour", _text), _required("step", _text), _required("attempt", _i32), _required("status", _text),
            pa.field("inputs", table_version), pa.field("outputs", table_version),
            pa.field("files", landing_files),
            pa.field("rows_in", _i64), pa.field("rows_out", _i64), pa.field("rows_refused", _i64), pa.field("content_hash", _text),
            pa.field("seconds", pa.list_(pa.struct([("stage", _text), ("s", _f64)]))), pa.field("release_id", _text),
            pa.field("challenger_id", _text), pa.field("began_from", _text), pa.field("detail", _text), _required("code_version", _text),
            _required("started_at", _ts), _required("ended_at", _ts),
        ]),
        engine="delta-rs", retention_days=400,
    ),
]

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
