"""MovieLens out of a wheel made by hand, and the made-up catalogue."""

import zipfile

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.local.catalogue import MAX_DURATION_S, MIN_DURATION_S, load_catalogue, made_up_catalogue, read_movielens
from pipelines.local.made_up import made_up_items

MEMBER = "recbole/dataset_example/ml-100k/ml-100k"
ITEMS = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tUsual Suspects, The\t1995\tCrime Thriller\n"
    "2\tShanghai Triad (Yao a yao yao dao waipo qiao)\t1995\tDrama\n"
    "3\tPostino, Il\tV\tDrama unknown\n"
    "267\tunknown\t\tunknown\n"
    '4\t"Quoted" Title, A (Other)\t1990\tComedy\n'
)
RATINGS = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" "7\t1\t5\t881250949\n7\t267\t3\t881250950\n8\t4\t1\t881250951\n"


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{MEMBER}.item", ITEMS)
        archive.writestr(f"{MEMBER}.inter", RATINGS)
    return path


def test_titles_are_as_people_say_them_and_the_item_that_is_none_is_left_out(wheel):
    catalogue = read_movielens(wheel, 7)
    assert catalogue.items["title"].tolist() == [
        "The Usual Suspects", "Shanghai Triad (Yao a yao yao dao waipo qiao)", "Il Postino", 'A "Quoted" Title (Other)',
    ]  # fmt: skip
    assert catalogue.items["item_id"].tolist() == ["m1", "m2", "m3", "m4"]
    assert catalogue.items["year"].tolist() == ["1995", "1995", "", "1990"]
    assert catalogue.items["genres"].tolist() == [("Crime", "Thriller"), ("Drama",), ("Drama",), ("Comedy",)]
    assert catalogue.items["duration_s"].between(MIN_DURATION_S, MAX_DURATION_S).all()


def test_ratings_name_items_of_the_catalogue_only(wheel):
    ratings = read_movielens(wheel, 7).ratings
    assert ratings.to_dict("records") == [
        {"user_id": "7", "item_id": "m1", "rating": 5.0, "ts": 881250949},
        {"user_id": "8", "item_id": "m4", "rating": 1.0, "ts": 881250951},
    ]


@pytest.mark.parametrize("content", [b"no zip at all", None])
def test_a_corrupt_wheel_is_one_line_that_says_what_to_do(tmp_path, content):
    path = tmp_path / "bad.whl"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("other", "")
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match="remove the file and run again"):
        read_movielens(path, 7)


def test_an_unknown_catalogue_names_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="movielens, made-up"):
        load_catalogue("books", tmp_path, 7)  # type: ignore[arg-type]


def test_the_made_up_catalogue_is_a_function_of_its_seed():
    first, again, other = (made_up_catalogue(seed, items=80, users=30) for seed in (7, 7, 8))
    assert first.items.equals(again.items) and first.ratings.equals(again.ratings)
    assert not first.items.equals(other.items)
    assert first.items["title"].is_unique and first.items["item_id"].is_unique
    assert made_up_items(7, 4000)["title"].is_unique


def test_made_up_ratings_are_stars_of_distinct_items_with_some_taste_in_them():
    catalogue = made_up_catalogue(7, items=300, users=200)
    ratings = catalogue.ratings
    assert set(ratings["rating"].unique()) <= {1, 2, 3, 4, 5}
    assert not ratings.duplicated(["user_id", "item_id"]).any()
    assert ratings.groupby("user_id").size().between(40, 120).all()
    genre = dict(zip(catalogue.items["item_id"], [genres[0] for genres in catalogue.items["genres"]], strict=True))
    by_pair = ratings.assign(genre=ratings["item_id"].map(genre)).groupby(["user_id", "genre"])["rating"].mean()
    by_user = ratings.groupby("user_id")["rating"].mean()
    assert (by_pair - by_user.reindex(by_pair.index, level=0)).std() > 0.4, "users differ in what they like"
    popular = ratings["item_id"].value_counts().reindex(catalogue.items["item_id"], fill_value=0)
    assert np.sort(popular)[-30:].sum() > 0.25 * len(ratings), "a tenth of the items has a quarter of the ratings"
