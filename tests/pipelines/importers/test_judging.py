"""The importer refuses what the parser of landing lines refuses: the same tables, the same lines, and the published schemas."""

import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.importers import judging
from pipelines.importers.judging import reason_of
from pipelines.importers.records import records_of
from spark_jobs import parsing

LATEST = datetime(2026, 11, 10, 9, tzinfo=UTC)
GOOD = {"user_id": "u", "item_id": "i", "ts": "2026-11-10T08:10:00+00:00", "type": "click"}
SHOWN = {"user_id": "u", "item_id": "i", "ts": "2026-11-10T08:10:00Z", "position": 2}
ITEM = {"item_id": "i", "title": "t"}
SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"
KINDS = {"impressions": "impression", "feedback": "feedback", "items": "item"}
CASES = [
    ("feedback", GOOD, {}, None),
    ("feedback", GOOD, {"user_id": None}, "missing_key"),
    ("feedback", GOOD, {"item_id": "  "}, "missing_key"),
    ("feedback", GOOD, {"ts": "2026-11-10T08:10:00"}, "wrong_type"),
    ("feedback", GOOD, {"ts": "yesterday"}, "wrong_type"),
    ("feedback", GOOD, {"ts": "10-11-2026"}, "wrong_type"),
    ("feedback", GOOD, {"type": "watch", "value": "much"}, "wrong_type"),
    ("feedback", GOOD, {"type": "watch", "value": "1_000"}, "wrong_type"),
    ("feedback", GOOD, {"type": "watch", "value": "1,5"}, "wrong_type"),
    ("feedback", GOOD, {"type": "stare"}, "unknown_reaction"),
    ("feedback", GOOD, {"type": "watch", "value": "NaN"}, "non_finite"),
    ("feedback", GOOD, {"type": "watch", "value": "Infinity"}, "non_finite"),
    ("feedback", GOOD, {"type": "watch", "value": "-Infinity"}, "non_finite"),
    ("feedback", GOOD, {"type": "watch", "value": "1e400"}, "non_finite"),
    ("feedback", GOOD, {"type": "watch", "value": -1}, "negative_value"),
    ("feedback", GOOD, {"ts": "2026-11-10T09:00:00+00:00"}, "from_future"),
    ("feedback", GOOD, {"ts": "2026-11-10T10:59:59+02:00"}, None),
    ("feedback", GOOD, {"item_id": "x" * 2000}, "oversized"),
    ("feedback", GOOD, {"type": "stare", "user_id": None}, "missing_key"),
    ("feedback", GOOD, {"type": "watch", "value": -1, "ts": "2027-01-01T00:00:00Z"}, "negative_value"),
    ("impressions", SHOWN, {}, None),
    ("impressions", SHOWN, {"position": -1}, "negative_value"),
    ("impressions", SHOWN, {"position": "second"}, "wrong_type"),
    ("impressions", SHOWN, {"position": 2.5}, "wrong_type"),
    ("impressions", SHOWN, {"position": 3_000_000_000}, "wrong_type"),
    ("impressions", SHOWN, {"position": None}, "missing_key"),
    ("impressions", SHOWN, {"propensity": 0}, "negative_value"),
    ("impressions", SHOWN, {"propensity": 1.5}, "negative_value"),
    ("impressions", SHOWN, {"propensity": 1.0}, None),
    ("items", ITEM, {}, None),
    ("items", ITEM, {"title": None}, "missing_key"),
    ("items", ITEM, {"price": -0.5}, "negative_value"),
    ("items", ITEM, {"price": "free"}, "wrong_type"),
    ("items", ITEM, {"published_at": "2030-01-01T00:00:00Z"}, None),
    ("items", ITEM, {"published_at": "soon"}, "wrong_type"),
    ("items", ITEM, {"available": "maybe"}, "wrong_type"),
    ("items", ITEM, {"available": False}, None),
]


def record_of(base, changes):
    return {name: value for name, value in (base | changes).items() if value is not None}


def judged(kind, record, max_bytes=1000):
    return reason_of(kind, record, len(json.dumps(record, ensure_ascii=False).encode()), LATEST, max_bytes)


@pytest.mark.parametrize(("kind", "base", "changes", "expected"), CASES)
def test_each_record_is_valid_or_gets_the_first_reason_that_holds(kind, base, changes, expected):
    assert judged(kind, record_of(base, changes)) == expected


def test_every_reason_that_one_record_can_have_is_among_them():
    assert {reason for *_, reason in CASES} - {None} == set(parsing.REASONS) - {"bad_json", "duplicate_conflict"}


def test_the_tables_are_the_parsers():
    assert {kind: list(names) for kind, names in judging.REQUIRED.items()} == parsing._REQUIRED
    assert parsing._TIMES == judging.TIMES
    typed = dict.fromkeys(judging.DOUBLES, "double") | {"position": "int", "available": "boolean"}
    assert typed == parsing._TYPED


def test_the_parser_judges_the_same_lines_the_same_way(spark, tmp_path):
    for kind in KINDS:
        cases = [(record_of(base, changes), reason) for of, base, changes, reason in CASES if of == kind]
        path = tmp_path / f"{kind}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record, _ in cases), encoding="utf-8")
        frame = parsing.parse(parsing.read_lines(spark, [(str(path), kind)], 1000), kind, LATEST.isoformat())
        found = {row["line"]: row["reason"] for row in frame.select("line", "reason").collect()}
        assert [found[line] for line in range(1, len(cases) + 1)] == [reason for _, reason in cases]


cells = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 10**12), st.floats(), st.text(max_size=5), st.just("2026-11-10T08:10:00Z"),
    st.sampled_from(["click", "rating", "", "0.5", "-1", "NaN", "١٢"]),
)  # fmt: skip
EVERYTHING = {
    "user_id": "u", "item_id": "i", "ts": "t",
    "impressions": {"position": "p", "propensity": "v", "query": "q", "context": {"d": "q"}},
    "feedback": [{"type": "k", "value": "v"}],
    "items": {
        "title": "q", "price": "v", "published_at": "t", "available": "k", "tags": "q", "image_vector": {"column": "v", "separator": ","},
    },
}  # fmt: skip


@given(st.fixed_dictionaries(dict.fromkeys("uitpvqk", cells)))
def test_what_is_called_valid_is_valid_by_the_published_schema(row):
    from pipelines.importers.mapping import Mapping

    for kind, record in records_of(row, Mapping(sources=[EVERYTHING]).sources[0], "f" * 64, 1):
        line = json.dumps(record, allow_nan=False)
        if reason_of(kind, record, len(line), LATEST, 1_000_000) is None:
            schema = json.loads((SCHEMAS / f"{KINDS[kind]}.schema.json").read_text(encoding="utf-8"))
            jsonschema.validate(json.loads(line), schema, format_checker=jsonschema.FormatChecker())
