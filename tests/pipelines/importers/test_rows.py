"""Files of each format to rows: text of any script stays whole, and what is broken is one line with its place."""

import csv
import gzip
import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.importers.mapping import Mapping
from pipelines.importers.rows import rows_of

ALL = {"user_id": "u", "item_id": "i", "ts": "t", "items": {"title": "text"}}
TEXT = 'مرحبا\n"世界", 🎬\r\nline 3'


def rows(path, **changes):
    return list(rows_of(path, Mapping(sources=[ALL | changes]).sources[0]))


def refusal(path, **changes):
    with pytest.raises(UserError) as raised:
        rows(path, **changes)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    return str(raised.value)


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("changes", [{}, {"encoding": "utf-8"}, {"encoding": "UTF8"}])
def test_csv_with_a_bom_and_quoted_text_of_several_lines(write, changes):
    path = write("a.csv", b"\xef\xbb\xbf" + f"u,i,t,text\r\nu1,007,1,{quoted(TEXT)}\r\n\r\nu2,,2,\r\n".encode())
    first, second = {"u": "u1", "i": "007", "t": "1", "text": TEXT}, {"u": "u2", "i": "", "t": "2", "text": ""}
    assert rows(path, **changes) == [(1, first), (2, second)]


@pytest.mark.parametrize(
    ("name", "content", "changes"),
    [
        ("a.tsv", "u\ti\tt\ttext\nu1\tm1\t1\tÄ, ö".encode(), {}),
        ("a.tsv.gz", gzip.compress("u\ti\tt\ttext\nu1\tm1\t1\tÄ, ö".encode()), {}),
        ("a.csv", "u;i;t;text\nu1;m1;1;Ä, ö".encode("cp1252"), {"delimiter": ";", "encoding": "cp1252"}),
        ("a.csv", "u|i|t|text\nu1|m1|1|Ä, ö".encode("utf-16"), {"delimiter": "|", "encoding": "utf-16"}),
        ("a.data", "u1\tm1\t1\tÄ, ö".encode(), {"format": "csv", "delimiter": "\t", "columns": ["u", "i", "t", "text"]}),
        ("a.jsonl", '\ufeff{"u":"u1","i":"m1","t":"1","text":"Ä, ö"}\r\n\n'.encode(), {}),
        ("a.ndjson.gz", gzip.compress('{"u":"u1","i":"m1","t":"1","text":"\\u00c4, ö"}'.encode()), {}),
    ],
)
def test_each_way_of_writing_the_same_row(write, name, content, changes):
    assert rows(write(name, content), **changes) == [(1, {"u": "u1", "i": "m1", "t": "1", "text": "Ä, ö"})]


def test_quotes_may_be_plain_characters(write):
    path = write("a.tsv", 'u\ti\tt\ttext\nu1\tm1\t1\t"Wow\n')
    assert rows(path, quoted=False)[0][1]["text"] == '"Wow'
    assert "line 2" in refusal(path) and "quoted" in refusal(path)


def test_parquet_keeps_types_and_reads_only_what_is_mapped(tmp_path):
    moment = datetime(2026, 11, 23, 20, tzinfo=UTC)
    table = pa.table({
        "u": [1], "i": [["m1", "m2"]], "t": pa.array([moment], pa.timestamp("ns", tz="UTC")), "text": [TEXT], "other": [b"x"],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [(1, {"u": 1, "i": ["m1", "m2"], "t": moment, "text": TEXT})]


def test_parquet_nanoseconds_are_cut(tmp_path):
    table = pa.table({"u": ["u"], "i": ["i"], "text": ["t"], "t": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet")[0][1]["t"] == datetime(2023, 11, 14, 22, 13, 20, 123456)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1, max_size=5))
def test_any_text_comes_back_from_csv_and_json(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([["u", "i", "t", "text"], *(["u", "i", "1", text] for text in texts)])
    (folder / "a.csv").write_bytes(stream.getvalue().encode())
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    for name in ("a.csv", "a.jsonl"):
        assert [row["text"] for _, row in rows(folder / name)] == texts


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"u,i,t\n1,2,3\n", "has no column 'text', which the mapping names; found i, t, u"),
        ("a.csv", b"", "has no column 'i', which the mapping names; found no column"),
        ("a.csv", b"u,i,t,text,u\n1,2,3,4,5\n", "two columns are called 'u'"),
        ("a.csv", b"u,i,t,text\n1,2,3,4\n1,2,3\n", "line 3: found 3 cells, expected 4"),
        ("a.csv", b'u,i,t,text\n1,2,3,"4\n', "line 2: "),
        ("a.csv", "u,i,t,text\n1,2,3,ä\n".encode("cp1252"), "set encoding in the mapping"),
        ("a.csv.gz", b"u,i,t,text\n1,2,3,4\n", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"u,i,t,text\n" + b"1,2,3,4\n" * 99)[:-20], "cannot be read"),
        ("a.jsonl", b'{"u": 1}\n{"u": \n', "line 2: expected one JSON object, found '{\"u\":'"),
        ("a.jsonl", b"[1, 2]\n", "line 1: expected one JSON object"),
        ("a.parquet", b"PAR1 no", "cannot be read"),
        ("a.xlsx", b"", "unknown ending '.xlsx'; known are .csv"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(write, name, content, expected):
    assert expected in refusal(write(name, content))


def test_an_unclosed_quote_does_not_take_the_whole_file_into_memory(write, monkeypatch):
    monkeypatch.setattr("pipelines.importers.rows.LONGEST", 1000)
    path = write("a.csv", 'u,i,t,text\n1,2,3,"' + "x\n" * 5000)
    assert "field larger than field limit (1000)" in refusal(path)
    assert "line 1: expected one JSON object" in refusal(write("a.jsonl", '{"text":"' + "x" * 5000 + '"}\n'))
