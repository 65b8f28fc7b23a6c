"""A mapping that cannot be used is one line that names the key, what was found and what is legal."""

from pathlib import Path

import pytest
import yaml

from pipelines.importers.mapping import MappingError, read_mapping
from spark_jobs.contracts import REACTIONS

WHO = {"user_id": "u", "item_id": "i", "ts": "t"}
CLICKS = WHO | {"feedback": [{"type": {"constant": "click"}}]}


def refusal(write, values):
    path = write("mapping.yaml", values)
    with pytest.raises(MappingError) as raised:
        read_mapping(path)
    assert "\n" not in str(raised.value) and str(raised.value).startswith(f"{path}: ")
    return str(raised.value)


def one(**changes):
    return {"sources": [CLICKS | changes]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "missing key sources"),
        ({"sources": []}, "sources: "),
        ({"sources": [CLICKS], "source": 1}, "unknown key source; legal keys here: sources"),
        (one(delimeter=";"), "unknown key sources.0.delimeter; legal keys here: columns, decimal, delimiter"),
        (one(impressions={"rank": "r"}), "sources.0.impressions.position; legal keys here: context, event_id"),
        (one(feedback=[{"value": "v"}]), "missing key sources.0.feedback.0.type; legal keys here: event_id, item_id"),
        (one(feedback=[{"type": {"colum": "a"}}]), "sources.0.feedback.0.type.colum; legal keys here: column, constant, values"),
        (one(feedback=[{"type": {"constant": "buy"}}]), f"found reaction 'buy'; legal values: {', '.join(REACTIONS)}"),
        (one(feedback=[{"type": {"column": "a", "values": {"b": "bought"}}}]), "sources.0.feedback.0.type: found reaction 'bought'"),
        (one(feedback=[{"type": {"column": "a", "constant": "view"}}]), "found column and constant, expected either"),
        (one(feedback=[{"type": {}}]), "found neither, expected either column or constant"),
        (one(feedback=[]), "found none of impressions, feedback, items"),
        (one(user_id=None), "sources.0: feedback.0 has no user_id; give it there, or once for the whole source"),
        (one(items={"title": "t"}, item_id=None), "has no item_id"),
        (one(encoding="utf-9"), "sources.0.encoding: no such encoding"),
        (one(encoding="rot13"), "sources.0.encoding: no such encoding"),
        (one(timezone="Berlin"), "timezone: no such time zone; legal are IANA names, for example Europe/Berlin or UTC; found 'Berlin'"),
        (one(timezone="../etc/passwd"), "no such time zone"),
        (one(time_format="epoch"), "legal values: iso, epoch_s, epoch_ms, epoch_us, or a strptime format"),
        (one(delimiter=";;"), "sources.0.delimiter: "),
        (one(format="xlsx"), "Input should be 'csv', 'jsonl' or 'parquet'; found 'xlsx'"),
        (one(event_ids="rows"), "'natural' or 'row'; found 'rows'"),
        ({"sources": [CLICKS, CLICKS | {"files": "b*"}]}, "sources.0 has no files; of several sources each needs a pattern"),
        ("a: [", "not YAML"),
        ("- a", "found a list, expected the key sources"),
    ],
)
def test_the_line_names_the_key_and_what_is_legal(write, values, expected):
    assert expected in refusal(write, values)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MappingError, match="cannot read the mapping"):
        read_mapping(Path(tmp_path / "none.yaml"))


def test_a_bare_text_is_a_column_and_numbers_are_texts(write):
    text = "sources: [{user_id: u, item_id: i, ts: t, feedback: [{type: {column: a, values: {1: click}}, where: ok}]}]"
    (source,) = read_mapping(write("mapping.yaml", text)).sources
    assert source.user_id.column == "u" and source.feedback[0].type.values == {"1": "click"}
    assert [where.column for where in source.feedback[0].where] == ["ok"]


def test_the_columns_that_a_source_reads(write):
    values = WHO | {
        "split": {"column": "basket", "number_as": "place"},
        "item_id": "basket.id",
        "impressions": {"position": "place", "context": {"device": "ua"}, "where": {"column": "kind", "one_of": ["shown"]}},
        "items": {"title": {"column": "name"}, "category": {"constant": "c"}, "attributes": {"duration_s": "length"}},
    }
    (source,) = read_mapping(write("mapping.yaml", yaml.safe_dump({"sources": [values]}))).sources
    assert source.column_names() == {"u", "t", "basket", "ua", "kind", "name", "length"}
