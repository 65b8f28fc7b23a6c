"""MovieLens' files out of a wheel: what the mapping makes of them, and what is sampled from."""

import gzip
import json
import zipfile

import pandas as pd
import pytest

from benchmarks.ranker.bench import HERE
from benchmarks.ranker.movielens import FOLDER, SAMPLER, SPLIT, log_files, ratings
from pipelines.importers.import_log import import_log
from pipelines.settings import load_settings

RATINGS = [
    ("196", "242", 3, 878_000_000), ("196", "1", 5, 878_000_060), ("7", "1", 4, 878_200_000), ("7", "242", 2, 878_200_001),
    ("9", "242", 4, 878_300_000), ("9", "9", 4, 878_300_001), ("196", "9", 5, 878_310_000),
]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    wheel = tmp_path / "some.whl"
    items = [("1", "Toy Story", "1995", "Animation Children's"), ("242", 'Kolya "95"', "1996", "Comedy"), ("9", "", "", "unknown")]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, header, rows in (
            ("inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", RATINGS),
            ("item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", items),
        ):
            archive.writestr(f"{FOLDER}/ml-100k.{name}", "\n".join([header, *("\t".join(map(str, row)) for row in rows)]) + "\n")
    return log_files(wheel, tmp_path / "log")


def test_the_mapping_gives_ratings_and_films_with_genres(files, tmp_path):
    settings = load_settings(tmp_path / "root", {})
    report = import_log(settings, [str(file) for file in files], HERE / "movielens.yaml")
    assert report.records == {"feedback": 7, "items": 2} and report.refused_share == 0  # a film without a title is none
    feedback, items = (_records(settings.landing / kind) for kind in ("feedback", "items"))
    assert feedback[0] == {"user_id": "196", "item_id": "242", "ts": "1997-10-28T00:53:20+00:00", "type": "rating", "value": 3}
    assert (items[1]["title"], items[1]["tags"], items[1]["attributes"]) == ('Kolya "95"', ["Comedy"], {"year": "1996"})


def test_a_set_is_what_a_user_rated_within_an_hour_against_films_that_the_user_never_rated(files):
    found = ratings(files[0])
    assert found["ts"].is_monotonic_increasing and found["basket"].nunique() == 4
    assert found["liked"].tolist() == [False, True, True, False, True, True, True]
    sets = SAMPLER.sets(found, pd.Timestamp("1997-10-29", tz="UTC"), SPLIT.until, 1)
    by_user = dict(list(sets.groupby("user")))
    assert set(by_user) == {"7", "9", "196"}
    assert by_user["7"]["item"].tolist() == ["1"]  # both films of the week before were rated: nothing is left for a negative
    assert by_user["9"][["item", "label"]].drop_duplicates().values.tolist() == [["242", 1.0], ["1", 0.0]]
    assert by_user["196"]["item"].tolist() == ["9"]


def _records(folder):
    (path,) = folder.iterdir()
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
