"""The truth of the simulated world, fitted on a catalogue: what each user likes in each item, by known parts.

U users, N items, G genres, W title keywords, D = G + W + RANK columns of the vectors.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.hours import hour_number
from pipelines.local.catalogue import Catalogue
from pipelines.local.drift import Speed
from pipelines.local.reactions import LOGIT_SD, sigmoid
from pipelines.local.world import World

Floats = NDArray[np.float64]

SHARES = {"taste": 0.4, "quality": 0.3, "residual": 0.3}
KEYWORD_SHARE = 0.25  # of the taste's variance; the rest is genres
RANDOM_CLICK_RATE = 0.09
RANK, PENALTY, SWEEPS = 8, 5.0, 8
MIN_USERS = 2800
COPY_NOISE = 0.3  # of a column's standard deviation over users
WITHHELD_SHARE, PUBLISHED_PER_HOUR = 0.05, 2
MIN_TITLES = 4
LONGEST = 0.9
STOP_WORDS = {"the", "and", "for", "with", "from", "that", "this", "its", "his", "her", "you", "your", "are", "not", "who", "all", "out"}


def fit_world(catalogue: Catalogue, seed: int, start_hour: str, speed: Speed = "medium") -> World:
    """A world whose taste, quality and residual have exactly the variance SHARES over all (user, item) pairs."""
    random = np.random.default_rng([seed, 5])
    base_ids, user = _codes(catalogue.ratings["user_id"])
    items = catalogue.items
    item = pd.Index(items["item_id"]).get_indexer(catalogue.ratings["item_id"])
    rest, quality = _less_means(user, item, catalogue.ratings["rating"].to_numpy(float), len(items))
    genres, keywords = _unit(genre_columns(items["genres"])), _unit(keyword_columns(items["title"]))
    weights = _ridge(genres, user, item, rest, len(base_ids))
    rest -= (weights[user] * genres[item]).sum(axis=1)
    hidden_users, hidden_items = _low_rank(user, item, rest, len(base_ids), len(items), random)

    copies = math.ceil(MIN_USERS / len(base_ids))
    likings = _copied(_bounded(weights), copies, random)  # (U, G)
    interests = _copied(random.normal(size=(len(base_ids), keywords.shape[1])), copies, random)  # (U, W)
    hidden = np.repeat(_centered(_bounded(hidden_users)), copies, axis=0)  # (U, RANK)
    hidden_items = _centered(_bounded(hidden_items))
    taste = _blend(likings, genres, interests, keywords)
    residual = hidden * _to_variance(SHARES["residual"], hidden, hidden_items)
    users, columns = np.hstack([taste, residual]), np.hstack([genres, keywords, hidden_items])
    quality = _centered(quality) / max(quality.std(), 1e-9) * math.sqrt(SHARES["quality"]) * LOGIT_SD
    return World(
        seed=seed,
        start_hour=start_hour,
        speed=speed,
        source=catalogue.source,
        intercept=_intercept(users[:: max(1, len(users) // 400)] @ columns.T + quality),
        genres=genres.shape[1],
        keywords=keywords.shape[1],
        user_ids=[f"u{base}-{copy}" for base in base_ids for copy in range(copies)],
        user_vectors=users.astype(np.float32),
        activity=0.6 + 0.38 * random.beta(2, 2, size=len(users)),
        item_ids=list(items["item_id"]),
        item_vectors=columns.astype(np.float32),
        item_quality=quality,
        duration_s=items["duration_s"].to_numpy(np.int64),
        published=_publication(len(items), start_hour, random),
    )


def genre_columns(genres: Sequence[tuple[str, ...]]) -> Floats:
    """(N, G): an item's genres, with equal weights of length 1 together."""
    names = sorted({genre for row in genres for genre in row})
    has = np.array([[name in row for name in names] for row in genres], dtype=float)
    return has / np.sqrt(np.maximum(has.sum(axis=1, keepdims=True), 1))


def keyword_columns(titles: Sequence[str]) -> Floats:
    """(N, W): the words of an item's title that at least MIN_TITLES titles share."""
    words = [set(re.findall(r"[a-z]{3,}", title.lower())) - STOP_WORDS for title in titles]
    counts = Counter(word for row in words for word in row)
    shared = sorted(word for word, count in counts.items() if count >= MIN_TITLES)
    return np.array([[word in row for word in shared] for row in words], dtype=float)


def _codes(ids: pd.Series) -> tuple[list[str], NDArray[np.int64]]:
    names = sorted(set(ids), key=lambda text: (len(text), text))
    return names, pd.Index(names).get_indexer(ids)


def _less_means(user: NDArray, item: NDArray, stars: Floats, items: int) -> tuple[Floats, Floats]:
    """Ratings less the user's and the item's shrunk means; and the item's, which is its quality."""
    rest = stars - stars.mean()
    rest = rest - (np.bincount(user, rest) / (np.bincount(user) + 5))[user]
    quality = np.bincount(item, rest, minlength=items) / (np.bincount(item, minlength=items) + 10)
    return rest - quality[item], quality


def _ridge(features: Floats, row: NDArray, column: NDArray, values: Floats, rows: int) -> Floats:
    """(rows, D): for each row the penalised least-squares weights on its columns' features (M, D)."""
    order = np.argsort(row, kind="stable")
    ends = np.cumsum(np.bincount(row, minlength=rows))[:-1]
    penalty = PENALTY * np.eye(features.shape[1])
    solved = np.zeros((rows, features.shape[1]))
    for index, events in enumerate(np.split(order, ends)):
        seen = features[column[events]]
        solved[index] = np.linalg.solve(seen.T @ seen + penalty, seen.T @ values[events])
    return solved


def _low_rank(user: NDArray, item: NDArray, rest: Floats, users: int, items: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Alternating least squares: (users, RANK) and (items, RANK) whose products come near the rest."""
    of_items = random.normal(size=(items, RANK))
    for _ in range(SWEEPS):
        of_users = _ridge(of_items, user, item, rest, users)
        of_items = _ridge(of_users, item, user, rest, items)
    return of_users, of_items


def _copied(weights: Floats, copies: int, random: np.random.Generator) -> Floats:
    """Each row ``copies`` times, each copy with its own small noise; centered over users."""
    repeated = np.repeat(weights, copies, axis=0)
    return _centered(repeated + random.normal(size=repeated.shape) * COPY_NOISE * weights.std(axis=0))


def _blend(likings: Floats, genres: Floats, interests: Floats, keywords: Floats) -> Floats:
    """(U, G + W): genre and keyword weights that give the taste its share of the logit's variance."""
    share = KEYWORD_SHARE if keywords.size else 0.0
    parts = [likings * _to_variance(1 - share, likings, genres), interests * _to_variance(share, interests, keywords)]
    together = np.hstack(parts)
    return together * _to_variance(SHARES["taste"], together, np.hstack([genres, keywords]))


def _to_variance(share: float, users: Floats, items: Floats) -> float:
    """The factor that gives the products of all pairs ``share`` of the logit's variance."""
    variance = float(np.sum((users.T @ users / len(users)) * (items.T @ items / len(items))))
    return LOGIT_SD * math.sqrt(share / variance) if variance > 0 else 0.0


def _bounded(rows: Floats) -> Floats:
    """No row longer than LONGEST of all: a few heavy raters would else hold much of the variance."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, np.quantile(lengths, LONGEST) / np.maximum(lengths, 1e-9))


def _centered(rows: Floats) -> Floats:
    return rows - rows.mean(axis=0)


def _unit(columns: Floats) -> Floats:
    """Centered over items, and scaled so that a row's mean squared length is 1."""
    centered = _centered(columns)
    return centered / max(math.sqrt(float((centered**2).sum(axis=1).mean())), 1e-9) if centered.size else centered


def _intercept(logits: Floats) -> float:
    """The level at which random items at position 0 get RANDOM_CLICK_RATE clicks, by bisection."""
    low, high = -12.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if sigmoid(logits + middle).mean() > RANDOM_CLICK_RATE else (middle, high)
    return (low + high) / 2


def _publication(items: int, start_hour: str, random: np.random.Generator) -> NDArray[np.int64]:
    """(N,) hour number of each item's publication; 0 for what is there from the start."""
    withheld = random.permutation(items)[: round(WITHHELD_SHARE * items)]
    published = np.zeros(items, dtype=np.int64)
    published[withheld] = hour_number(start_hour) + 1 + np.arange(len(withheld)) // PUBLISHED_PER_HOUR
    return published
