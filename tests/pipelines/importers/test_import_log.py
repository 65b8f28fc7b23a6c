"""Whole imports: complete or not there, the same again changes nothing, and memory does not grow with the file."""

import gzip
import json
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.errors import UserError
from pipelines.importers.import_log import import_log
from pipelines.importers.screen import print_dry_run

WHO = {"user_id": "u", "item_id": "i", "ts": "t"}
CLICKS = WHO | {"feedback": [{"type": {"constant": "click"}}]}
HEAD = "u,i,t\n"


def line(user, hour, item="m1"):
    return f"{user},{item},2026-11-23T{hour:02}:10:00Z\n"


def all_files(settings):
    return {path.relative_to(settings.home): path.read_bytes() for path in settings.home.rglob("*") if path.is_file()}


def without_order(records):
    return sorted(json.dumps(record, sort_keys=True) for record in records)


def test_a_log_of_purchases_without_impressions_becomes_feedback_only(settings, write, imported, landed):
    report = imported(WHO | {"feedback": [{"type": {"constant": "purchase"}}]}, write("a.csv", HEAD + line("u1", 8) + line("u2", 20)))
    assert [path.name for path in settings.landing.iterdir()] == ["feedback"]
    assert landed("feedback") == [
        {"user_id": user, "item_id": "m1", "ts": f"2026-11-23T{hour}:10:00+00:00", "type": "purchase"}
        for user, hour in (("u1", "08"), ("u2", "20"))
    ]
    assert (report.first_hour, report.last_hour, report.refused) == ("2026-11-23T08", "2026-11-23T20", {})
    assert report.reactions == {"purchase": 2}


def test_text_of_any_script_and_several_lines_lands_whole(write, imported, landed):
    text = 'مرحبا بالعالم\n世界 "引用"\r\n🎬 👩‍👩‍👧‍👦'
    row = f'm1,{chr(34)}{text.replace(chr(34), chr(34) * 2)}{chr(34)},"剧情,كوميديا"\n'
    source = {"item_id": "id", "items": {"title": "name", "tags": {"column": "genres", "separator": ","}}}
    imported(source, write("a.csv", b"\xef\xbb\xbf" + f"id,name,genres\n{row}".encode()))
    assert landed("items") == [{"item_id": "m1", "title": text, "tags": ["剧情", "كوميديا"]}]


def test_the_same_import_again_changes_nothing_and_says_so(settings, write, imported):
    path = write("a.csv", HEAD + line("u1", 8))
    first = imported(CLICKS, path)
    before = {file: (settings.home / file).stat().st_mtime_ns for file in all_files(settings)}
    again = imported(CLICKS, path)
    assert len(first.written) == 1 and first.there_before == []
    assert again.written == [] and again.there_before == first.written
    assert {file: (settings.home / file).stat().st_mtime_ns for file in all_files(settings)} == before
    same = "# the same\nsources:\n- {ts: t, user_id: {column: u}, item_id: i, feedback: [{type: {constant: click}}], files: '*'}\n"
    write("mapping.yaml", same)
    renamed = path.rename(path.with_name("b.csv"))
    assert import_log(settings, [str(renamed)], path.with_name("mapping.yaml")).written == [], "comments, order, names say nothing else"


def test_another_mapping_or_other_content_is_another_file(write, imported):
    path = write("a.csv", HEAD + line("u1", 8))
    names = {imported(source, path).written[0].name for source in (CLICKS, CLICKS | {"event_ids": "row"}, CLICKS | {"timezone": "UTC"})}
    write("a.csv", HEAD + line("u1", 9))
    assert len(names | {imported(CLICKS, path).written[0].name}) == 4


def test_files_of_the_same_content_count_once(write, imported, landed):
    paths = [write(name, HEAD + line("u1", 8)) for name in ("a.csv", "b.csv")]
    report = imported(CLICKS | {"event_ids": "row"}, *paths)
    assert report.repeated == [paths[1]] and len(landed("feedback")) == 1


def test_a_dry_run_writes_nothing_and_finds_the_same(settings, write, imported):
    path = write("a.csv", HEAD + line("u1", 8) + line("", 9) + line("u2", 9))
    dry = imported(CLICKS, path, dry_run=True)
    assert not settings.home.exists()
    real = imported(CLICKS, path)
    for name in ("rows", "records", "refused", "refusals", "first_records", "first_hour", "last_hour"):
        assert getattr(dry, name) == getattr(real, name), name
    refusal = dry.refusals["feedback", "missing_key"]
    assert (refusal.file, refusal.row, refusal.record["ts"]) == (path, 2, "2026-11-23T09:10:00+00:00")
    assert dry.written == []


def test_a_record_that_ingest_refuses_is_written_as_it_is_mapped(write, imported, landed):
    report = imported(CLICKS, write("a.csv", HEAD + "u1,m1,yesterday\n,m1,2026-11-23T08:00:00Z\nu1,m1,2999-01-01T00:00:00Z\n"))
    assert report.refused == {("feedback", "wrong_type"): 1, ("feedback", "missing_key"): 1, ("feedback", "from_future"): 1}
    assert [record["ts"] for record in landed("feedback")] == ["yesterday", "2026-11-23T08:00:00+00:00", "2999-01-01T00:00:00+00:00"]
    assert report.first_hour is None


@pytest.mark.parametrize("bad", ["u,i\n1,2\n", HEAD + line("u1", 8) + "u1,m1\n", HEAD + '"u1,m1,1\n', b"u,i,t\nu1,\xff,1\n"])
def test_a_bad_file_in_the_middle_leaves_nothing(settings, write, imported, bad):
    good = [write(f"{name}.csv", HEAD + line(name, 8)) for name in ("a", "c")]
    with pytest.raises(UserError, match=r"b\.csv"):
        imported(CLICKS, good[0], write("b.csv", bad), good[1])
    assert all_files(settings) == {}


def test_a_failed_import_leaves_what_was_there(settings, write, imported):
    good = write("a.csv", HEAD + line("u1", 8))
    imported(CLICKS, good)
    before = all_files(settings)
    with pytest.raises(UserError):
        imported(CLICKS, good, write("b.csv", "x\n1\n"))
    assert all_files(settings) == before


def test_a_landing_folder_that_cannot_be_written(settings, write, imported):
    settings.home.mkdir()
    settings.landing.write_text("a file")
    with pytest.raises(UserError, match=r"cannot write into .*; nothing was imported"):
        imported(CLICKS, write("a.csv", HEAD + line("u1", 8)))


def test_the_order_of_rows_and_files_does_not_matter(tmp_path, write, landed, settings):
    lines = [line(f"u{n % 7}", n % 24, f"m{n}") for n in range(50)]
    mapping = write("mapping.yaml", {"sources": [CLICKS]})
    orders = [lines, random.Random(1).sample(lines, len(lines))]
    found = []
    for number, ordered in enumerate(orders):
        home = settings.model_copy(update={"home": tmp_path / f"root{number}"})
        paths = [write(f"{number}{part}.csv", HEAD + "".join(ordered[part::2])) for part in (0, 1)]
        report = import_log(home, [str(path) for path in paths[:: 1 - 2 * number]], mapping)
        texts = [gzip.decompress(path.read_bytes()).decode() for path in report.written]
        records = [json.loads(text) for text in "".join(texts).splitlines()]
        found.append((without_order(records), report.first_hour, report.last_hour, report.records))
    assert found[0] == found[1] and len(found[0][0]) == 50


def test_files_go_to_the_source_whose_pattern_they_fit(settings, write, imported, landed, tmp_path):
    sources = [CLICKS | {"files": "clicks*.csv"}, {"files": "*.jsonl", "item_id": "id", "items": {"title": "name"}}]
    write("clicks1.csv", HEAD + line("u1", 8))
    write("clicks2.csv", HEAD + line("u2", 8))
    write("goods.jsonl", '{"id": 1, "name": "Stuhl"}\n{"id": 2, "name": "Tisch"}\n')
    report = imported({"sources": sources}, tmp_path / "clicks*.csv", tmp_path / "goods.jsonl")
    assert report.records == {"feedback": 2, "items": 2} and landed("items")[1] == {"item_id": "2", "title": "Tisch"}
    with pytest.raises(UserError, match=r"mapping\.yaml: fits 0 sources .*, expected one; their files are clicks\*\.csv, \*\.jsonl"):
        imported({"sources": sources}, tmp_path / "mapping.yaml")
    with pytest.raises(UserError, match=r"no file .*none"):
        imported({"sources": sources}, tmp_path / "none*.csv")


def test_an_order_log_holds_each_state_of_an_item_once(write, imported, landed):
    content = "u,i,t,name\n" + "".join(f"u{n},m{n % 2},2026-11-23T08:00:00Z,Item {n % 2}\n" for n in range(20))
    imported(CLICKS | {"items": {"title": "name"}}, write("a.csv", content + "u1,m1,2026-11-23T09:00:00Z,Item 1 new\n"))
    assert landed("items") == [{"item_id": f"m{n}", "title": title} for n, title in ((0, "Item 0"), (1, "Item 1"), (1, "Item 1 new"))]
    assert len(landed("feedback")) == 21


def test_a_column_that_no_line_of_any_json_file_has(settings, write, imported):
    paths = [write("a.jsonl", '{"u": 1, "i": 1, "t": "2026-11-23T08:00:00Z"}\n'), write("b.jsonl", '{"u": 1, "i": 1, "r": "x"}\n')]
    assert imported(CLICKS | {"request_id": "r"}, *paths, dry_run=True).records == {"feedback": 2}
    with pytest.raises(UserError, match="no line of the files has a value for 'q', which the mapping names"):
        imported(CLICKS | {"request_id": "q"}, *paths)
    assert all_files(settings) == {}


def test_half_a_surrogate_pair_lands_and_is_shown_as_something_else(write, imported, landed, capsys):
    report = imported(CLICKS, write("a.jsonl", r'{"u": "a\ud800b\u001b[31m", "i": "", "t": "2026-11-23T08:00:00Z"}'))
    assert landed("feedback")[0]["user_id"] == "a?b\x1b[31m"
    print_dry_run(Console(width=140), report)
    shown = capsys.readouterr().out
    assert "a b [31m" in shown and "\x1b" not in shown


def test_no_record_at_all_is_an_error(settings, write, imported):
    with pytest.raises(UserError, match="1 rows of 1 files give no record"):
        imported(WHO | {"feedback": [{"type": {"constant": "click"}, "where": "i"}]}, write("a.csv", HEAD + "u1,0,1\n"))
    assert all_files(settings) == {}


def test_long_files_land_in_parts_that_hold_every_record_once(settings, write, imported, landed, monkeypatch):
    monkeypatch.setattr("pipelines.importers.landing_parts.PART_RECORDS", 10)
    report = imported(CLICKS, write("a.csv", HEAD + "".join(line(f"u{n}", 8) for n in range(25))))
    assert [path.name[-14:] for path in report.written] == ["-0000.jsonl.gz", "-0001.jsonl.gz", "-0002.jsonl.gz"]
    assert [record["user_id"] for record in landed("feedback")] == [f"u{n}" for n in range(25)]


def test_a_broken_rename_is_mended_by_the_next_import(settings, write, imported, landed, monkeypatch):
    monkeypatch.setattr("pipelines.importers.landing_parts.PART_RECORDS", 10)
    path = write("a.csv", HEAD + "".join(line(f"u{n}", 8) for n in range(25)))
    written = imported(CLICKS, path).written
    written[1].unlink()
    again = imported(CLICKS, path)
    assert again.written == [written[1]] and again.there_before == [written[0], written[2]] and len(landed("feedback")) == 25


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, imported, ending):
    def peak(rows):
        path = tmp_path / f"{rows}.{ending}"
        columns = {"u": [f"u{n % 99}" for n in range(rows)], "i": [f"m{n}" for n in range(rows)], "t": ["2026-11-23T08:00:00Z"] * rows}
        if ending == "parquet":
            pq.write_table(pa.table(columns), path)
        else:
            records = zip(*columns.values(), strict=True)
            texts = (",".join(r) if ending == "csv" else json.dumps(dict(zip("uit", r, strict=True))) for r in records)
            path.write_text(("u,i,t\n" if ending == "csv" else "") + "\n".join(texts))
        tracemalloc.start()
        imported(CLICKS, path)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1000)
    assert peak(40_000) < peak(10_000) + 2_000_000
