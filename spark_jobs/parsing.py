"""Landing lines to typed events: every line becomes a row, valid or with one reason code. Nothing is dropped."""

from collections.abc import Iterator

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_jobs.contracts import REACTIONS
from spark_jobs.landing_formats import Record, records

REASONS = {
    "bad_json": "the record is not one JSON object in UTF-8, or not a row under its file's header",
    "missing_key": "a required field is missing or empty",
    "wrong_type": "a field cannot be read as its type",
    "unknown_reaction": "the feedback type is none of the contract's",
    "non_finite": "a number is NaN or infinite",
    "negative_value": "a position, value or price is negative, or a propensity outside (0, 1]",
    "from_future": "the time lies after the loop's now and the wall clock",
    "duplicate_conflict": "the event_id was seen before with another payload",
    "oversized": "the record is longer than lake.max_record_bytes",
}
_STRINGS = {
    "impressions": ["event_id", "request_id", "slate_id", "user_id", "item_id", "position", "ts", "surface", "query",
                    "propensity", "policy_version"],
    "feedback": ["event_id", "request_id", "user_id", "item_id", "ts", "type", "value"],
    "items": ["item_id", "title", "text", "category", "price", "published_at", "available"],
}  # fmt: skip
_COLLECTIONS = {
    "impressions": {"context": "map<string,string>"},
    "feedback": {},
    "items": {"tags": "array<string>", "attributes": "map<string,string>", "image_vector": "array<float>"},
}
_TYPED = {"position": "int", "propensity": "double", "value": "double", "price": "double", "available": "boolean"}
_TIMES = ("ts", "published_at")
_REQUIRED = {
    "impressions": ["user_id", "item_id", "position", "ts"],
    "feedback": ["user_id", "item_id", "ts", "type"],
    "items": ["item_id", "title"],
}
_NATURAL_KEY = {
    "impressions": ["user_id", "item_id", "ts", "position", "slate_id", "request_id"],
    "feedback": ["user_id", "item_id", "ts", "type", "value"],
}
KEYS_READ = 1000
_BATCH_ROWS, _BATCH_BYTES = 20_000, 32_000_000
_LINES = pa.schema([
    ("kind", pa.string()), ("source_file", pa.string()), ("line", pa.int64()), ("raw", pa.binary()), ("text", pa.string()),
    ("oversized", pa.bool_()),
])  # fmt: skip
_OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"


def read_lines(spark: SparkSession, files: list[tuple[str, str]], max_bytes: int) -> DataFrame:
    """One row a record of each (path, kind): kind, source_file, line (from 1), raw, text, oversized; see ``landing_formats``."""
    frame = spark.createDataFrame(files, "path string, kind string").repartition(max(1, min(len(files), 8)))

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in batch.to_pylist():
                yield from _file_batches(row["path"], row["kind"], max_bytes)

    return frame.mapInArrow(read, "kind string, source_file string, line bigint, raw binary, text string, oversized boolean")


def _file_batches(path: str, kind: str, max_bytes: int) -> Iterator[pa.RecordBatch]:
    held: list[Record] = []
    size = 0
    for record in records(path, max_bytes):
        held.append(record)
        size += len(record.raw)
        if len(held) == _BATCH_ROWS or size > _BATCH_BYTES:
            yield _batch(path, kind, held)
            held, size = [], 0
    if held:
        yield _batch(path, kind, held)


def _batch(path: str, kind: str, held: list[Record]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "kind": [kind] * len(held), "source_file": [path] * len(held), "line": [record.number for record in held],
            "raw": [record.raw for record in held], "text": [record.text for record in held],
            "oversized": [record.oversized for record in held],
        },
        schema=_LINES,
    )  # fmt: skip


def parse(lines: DataFrame, kind: str, latest: str) -> DataFrame:
    """Typed columns of one kind beside raw, source_file, line, ``reason`` (null where the record is valid) and ``unknown_keys``.

    ``unknown_keys``: of a file's first KEYS_READ lines the keys that the contract does not have. ``latest``: ISO
    instant; a record whose ``ts`` lies at or after it is from the future.
    """
    schema = ", ".join([f"{n} string" for n in _STRINGS[kind]] + [f"{n} {t}" for n, t in _COLLECTIONS[kind].items()])
    found = lines.where(F.col("kind") == kind).withColumn(
        "json", F.from_json("text", f"{schema}, _corrupt string", {"columnNameOfCorruptRecord": "_corrupt"})
    )
    plain = [_typed(name).alias(name) for name in _STRINGS[kind]]
    nested = [F.col(f"json.{name}").alias(name) for name in _COLLECTIONS[kind]]
    known = F.array(*[F.lit(name) for name in (*_STRINGS[kind], *_COLLECTIONS[kind])])
    unknown = F.when(F.col("line") <= KEYS_READ, F.array_except(F.json_object_keys("text"), known)).alias("unknown_keys")
    typed = found.select("source_file", "line", "raw", "oversized", "json", unknown, *plain, *nested)
    return typed.withColumn("reason", _reason(kind, latest)).transform(_with_event_id, kind).drop("json", "oversized")


def _typed(name: str) -> Column:
    text = F.col(f"json.{name}")
    if name in _TIMES:
        return F.when(text.rlike(_OFFSET), F.try_to_timestamp(text))
    return text.try_cast(_TYPED[name]) if name in _TYPED else text


def _reason(kind: str, latest: str) -> Column:
    """The first reason that holds, in the order of REASONS."""
    names = _STRINGS[kind]
    missing = _any(F.coalesce(F.trim(F.col(f"json.{name}")), F.lit("")) == "" for name in _REQUIRED[kind])
    retyped = [name for name in names if name in _TYPED or name in _TIMES]
    wrong = _any(F.col(f"json.{name}").isNotNull() & F.col(name).isNull() for name in retyped)
    numbers = [name for name in names if _TYPED.get(name) == "double"]
    infinite = _any(F.isnan(name) | (F.abs(name) == float("inf")) for name in numbers)
    negative = _any(F.col(name) < 0 for name in [*numbers, *(["position"] if "position" in names else [])])
    reason = F.when(F.col("oversized"), "oversized").when(F.col("json").isNull() | F.col("json._corrupt").isNotNull(), "bad_json")
    reason = reason.when(missing, "missing_key").when(wrong, "wrong_type")
    if kind == "feedback":
        reason = reason.when(~F.col("type").isin(*REACTIONS), "unknown_reaction")
    reason = reason.when(infinite, "non_finite").when(negative | _bad_propensity(kind), "negative_value")
    return reason.when(F.col("ts") >= F.lit(latest).cast("timestamp"), "from_future") if "ts" in names else reason


def _bad_propensity(kind: str) -> Column:
    if kind != "impressions":
        return F.lit(False)
    return F.coalesce((F.col("propensity") <= 0) | (F.col("propensity") > 1), F.lit(False))


def _any(conditions: Iterator[Column] | list[Column]) -> Column:
    total = F.lit(False)
    for condition in conditions:
        total = total | F.coalesce(condition, F.lit(False))
    return total


def _with_event_id(frame: DataFrame, kind: str) -> DataFrame:
    """An event without an id (missing or empty) gets the hash of the natural key: the same event again is the same row."""
    if kind not in _NATURAL_KEY:
        return frame
    key = F.concat_ws("\x1f", *[F.coalesce(F.col(name).cast("string"), F.lit("")) for name in _NATURAL_KEY[kind]])
    own = F.when(F.trim("event_id") != "", F.col("event_id"))
    return frame.withColumn("event_id", F.coalesce(own, F.substring(F.sha2(key, 256), 1, 32)))
