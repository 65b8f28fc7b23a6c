import csv
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_jobs.landing_formats import records
from spark_jobs.parsing import REASONS, parse, read_lines

LATEST = "2026-11-10T09:00:00+00:00"
GOOD = {"user_id": "u", "item_id": "i", "ts": "2026-11-10T08:10:00+00:00", "type": "click"}
SHOWN = {"user_id": "u", "item_id": "i", "ts": "2026-11-10T08:10:00Z", "position": 2}


def line(**changes):
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value is not None})


def parsed(spark, path, kind, content, max_bytes=1000):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    frame = parse(read_lines(spark, [(str(path), kind)], max_bytes), kind, LATEST)
    return sorted(frame.collect(), key=lambda row: row["line"])


def test_each_line_is_typed_or_gets_the_first_reason_that_holds(spark, tmp_path):
    lines = {
        line(): None,
        "{broken": "bad_json",
        "[1, 2]": "bad_json",
        line(user_id=None): "missing_key",
        line(item_id="  "): "missing_key",
        line(ts="2026-11-10T08:10:00"): "wrong_type",
        line(ts="yesterday"): "wrong_type",
        line(type="watch", value="much"): "wrong_type",
        line(type="stare"): "unknown_reaction",
        line(type="watch", value="NaN"): "non_finite",
        line(type="watch", value="Infinity"): "non_finite",
        line(type="watch", value=-1): "negative_value",
        line(ts="2026-11-10T09:00:00+00:00"): "from_future",
        line(ts="2026-11-10T10:59:59+02:00"): None,
        line(item_id="x" * 2000): "oversized",
        line(type="stare", user_id=None): "missing_key",
        line(type="watch", value=-1, ts="2027-01-01T00:00:00Z"): "negative_value",
    }
    rows = parsed(spark, tmp_path / "a.jsonl", "feedback", "\n".join(lines).encode())
    assert [row["reason"] for row in rows] == list(lines.values())
    assert set(lines.values()) - {None} == set(REASONS) - {"duplicate_conflict"}, "a conflict needs the other events"
    assert [row["line"] for row in rows] == list(range(1, len(lines) + 1))
    good = rows[13]
    assert good["ts"].isoformat() in ("2026-11-10T08:59:59", "2026-11-10T08:59:59+00:00")


def test_what_an_impression_may_not_say(spark, tmp_path):
    changes = [{}, {"position": -1}, {"position": "second"}, {"propensity": 0}, {"propensity": 1.5}, {"propensity": 1.0}]
    changes.append({"position": None})
    lines = [json.dumps({key: value for key, value in (SHOWN | change).items() if value is not None}) for change in changes]
    rows = parsed(spark, tmp_path / "i.jsonl", "impressions", "\n".join(lines).encode())
    expected = [None, "negative_value", "wrong_type", "negative_value", "negative_value", None, "missing_key"]
    assert [row["reason"] for row in rows] == expected
    assert rows[0]["position"] == 2 and rows[5]["propensity"] == 1.0


def test_gzip_carriage_returns_blank_lines_and_any_script(spark, tmp_path):
    content = f"{line(user_id='ñandú')}\r\n\r\n\n{line(user_id='東京')}\r\n".encode()
    rows = parsed(spark, tmp_path / "b.jsonl.gz", "feedback", content)
    assert [(row["line"], row["user_id"], row["reason"]) for row in rows] == [(1, "ñandú", None), (4, "東京", None)]


def test_an_event_without_an_id_is_named_by_its_natural_key(spark, tmp_path):
    same = [line(), line(ts="2026-11-10T10:10:00+02:00"), line(event_id=""), line(request_id="r", extra=1)]
    others = [line(ts="2026-11-10T08:10:01Z"), line(user_id="i", item_id="u"), line(type="rating", value=1), line(type="rating", value=2)]
    content = "\n".join([*same, *others, line(event_id="mine")]).encode()
    ids = [row["event_id"] for row in parsed(spark, tmp_path / "c.jsonl", "feedback", content)]
    assert len(set(ids[:4])) == 1 and len(set(ids)) == 6 and ids[-1] == "mine"
    assert all(len(name) == 32 for name in ids[:-1])


def test_a_line_may_be_as_long_as_the_limit_and_no_byte_longer(spark, tmp_path):
    length = len(line(item_id=""))
    lines = [line(item_id="x" * (150 - length)), line(item_id="x" * (151 - length)), line(item_id="x" * 900), line()]
    rows = parsed(spark, tmp_path / "e.jsonl", "feedback", "\n".join(lines).encode(), max_bytes=150)
    assert [(row["line"], row["reason"]) for row in rows] == [(1, None), (2, "oversized"), (3, "oversized"), (4, None)]
    assert [bytes(row["raw"]).decode() for row in rows] == lines, "kept as it came"


def test_what_an_item_may_not_say(spark, tmp_path):
    lines = [
        '{"item_id": "i", "title": "ok", "price": 1.5, "tags": ["a"], "attributes": {"k": "v"}, "available": true}', '{"item_id": "i"}',
        '{"item_id": "i", "title": "t", "price": "dear"}', '{"item_id": "i", "title": "t", "price": -1}',
        '{"item_id": "i", "title": "t", "price": "NaN"}', '{"item_id": "i", "title": "t", "published_at": "2026-11-10"}',
        '{"item_id": "i", "title": "t", "available": "perhaps"}',
    ]  # fmt: skip
    rows = parsed(spark, tmp_path / "f.jsonl", "items", "\n".join(lines).encode())
    expected = [None, "missing_key", "wrong_type", "negative_value", "non_finite", "wrong_type", "wrong_type"]
    assert [row["reason"] for row in rows] == expected
    good = rows[0]
    assert (good["price"], good["tags"], good["attributes"], good["available"]) == (1.5, ["a"], {"k": "v"}, True)


def test_a_refused_record_is_kept_byte_for_byte(spark, tmp_path):
    odd = '{"user_id": "u",  "item_id":"i","ts":"2026-11-10T08:10:00Z", "type":"stare", "extra": [1,  2]}'
    (row,) = parsed(spark, tmp_path / "d.jsonl", "feedback", odd.encode())
    assert row["reason"] == "unknown_reaction" and bytes(row["raw"]).decode() == odd


def test_csv_and_parquet_rows_say_what_json_lines_say(spark, tmp_path):
    told = [
        {"item_id": "a", "title": "Ünïcödé, \"quoted\"\nover two lines", "tags": ["x", "y"], "price": "1.5", "attributes": {"k": "v"}},
        {"item_id": "b", "title": "東京", "available": "false"},
    ]
    names = ["item_id", "title", "tags", "price", "attributes", "available"]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for record in told:
        cells = [record.get(name, "") for name in names]
        writer.writerow([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in cells])
    lines = parsed(spark, tmp_path / "a.jsonl", "items", "\n".join(json.dumps(record) for record in told).encode())
    rows = parsed(spark, tmp_path / "b.csv.gz", "items", b"\xef\xbb\xbf" + text.getvalue().encode())
    pq.write_table(pa.Table.from_pylist([dict.fromkeys(names) | record for record in told]), tmp_path / "c.parquet")
    table = parse(read_lines(spark, [(str(tmp_path / "c.parquet"), "items")], 1000), "items", LATEST)
    columns = ("item_id", "title", "tags", "price", "attributes", "available", "reason")
    expected = [[row[name] for name in columns] for row in lines]
    assert expected[0][0] == "a" and expected[0][3] == 1.5 and expected[1][-1] is None
    for found in (rows, sorted(table.collect(), key=lambda row: row["line"])):
        assert [[row[name] for name in columns] for row in found] == expected
    assert [row["line"] for row in rows] == [2, 4]


def test_what_is_no_text_or_no_row_is_refused_with_its_bytes(spark, tmp_path):
    broken = b'{"user_id": "\xff\xfe", "item_id": "i"}'
    (row,) = parsed(spark, tmp_path / "a.jsonl", "feedback", broken)
    assert (row["reason"], bytes(row["raw"])) == ("bad_json", broken)
    good = b"u,i,2026-11-10T08:10:00Z,click"
    bad = [b"u,i", b"u,i\rj,2026-11-10T08:10:00Z,click", b"\xff,i,2026-11-10T08:10:00Z,click", b'u,"never closed,2026']
    rows = parsed(spark, tmp_path / "b.csv", "feedback", b"\n".join([b"user_id,item_id,ts,type", good, *bad]))
    assert [(row["reason"], bytes(row["raw"])) for row in rows] == [(None, good)] + [("bad_json", line) for line in bad]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6), min_size=2, max_size=2)))
def test_the_bytes_of_csv_records_are_the_file(tmp_path_factory, table):
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["a", "b"], *table])
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_bytes(text.getvalue().encode())
    found = list(records(str(path), 1000))
    told = [{name: cell for name, cell in zip("ab", cells, strict=True) if cell} for cells in table]
    assert [json.loads(record.text or "null") for record in found] == told
    assert b"\r\n".join([b"a,b", *(record.raw for record in found)]) + b"\r\n" == path.read_bytes()


def test_keys_that_the_contract_does_not_have_are_named_and_the_record_is_taken(spark, tmp_path):
    lines = [line(colour="red", Größe=4), line(), "{broken", line(context={"shop": "x"})]
    rows = parsed(spark, tmp_path / "a.jsonl", "feedback", "\n".join(lines).encode())
    assert [row["reason"] for row in rows] == [None, None, "bad_json", None]
    assert [sorted(row["unknown_keys"] or []) for row in rows] == [["Größe", "colour"], [], [], ["context"]]


def test_a_binary_column_record_holds_one_record_a_row_byte_for_byte(tmp_path):
    path, large = tmp_path / "topic.parquet", b"x" * 20
    rows = [b'{"a":\n1}', b"\xff\n", None, b"", large]
    table = pa.table({"record": pa.array(rows, pa.binary()), "offset": range(5)})
    pq.write_table(table, path, row_group_size=2)
    assert [(found.number, found.raw, found.text, found.oversized) for found in records(str(path), 10)] == [
        (1, rows[0], '{"a":\n1}', False), (2, rows[1], None, False), (4, b"", "", False), (5, large, None, True),
    ]  # fmt: skip
    pq.write_table(pa.table({"record": ["text"], "a": [1]}), path)
    assert [found.text for found in records(str(path), 99)] == ['{"record": "text", "a": 1}'], "a text column is a field"
