import gzip
import json

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
    assert set(lines.values()) - {None} <= set(REASONS)
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
    content = "\n".join([line(), line(), line(ts="2026-11-10T08:10:01+00:00"), line(event_id="mine")]).encode()
    ids = [row["event_id"] for row in parsed(spark, tmp_path / "c.jsonl", "feedback", content)]
    assert ids[0] == ids[1] != ids[2] and ids[3] == "mine"
    assert all(len(name) == 32 for name in ids[:3])


def test_a_refused_record_is_kept_byte_for_byte(spark, tmp_path):
    odd = '{"user_id": "u",  "item_id":"i","ts":"2026-11-10T08:10:00Z", "type":"stare", "extra": [1,  2]}'
    (row,) = parsed(spark, tmp_path / "d.jsonl", "feedback", odd.encode())
    assert row["reason"] == "unknown_reaction" and row["raw"] == odd
