"""A made-up catalogue with a planted taste: word-built titles, 12 genres, ratings that follow genres and quality."""

import numpy as np
import pandas as pd

GENRES = ("Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary",
          "Drama", "Fantasy", "Horror", "Mystery", "Romance", "Thriller")  # fmt: skip
FIRST = ("Silent", "Broken", "Golden", "Hidden", "Last", "Midnight", "Burning", "Frozen", "Distant", "Crimson", "Paper",
         "Electric", "Secret", "Lonely", "Wild", "Velvet", "Hollow", "Bright", "Borrowed", "Northern")  # fmt: skip
SECOND = ("Harbor", "River", "Garden", "Winter", "Letters", "Horizon", "Mirror", "Orchard", "Station", "Summer", "Bridge",
          "Kingdom", "Shadow", "Waltz", "Island", "Engine", "Lantern", "Promise", "Desert", "Signal")  # fmt: skip
THIRD = ("", " of Love", " of the North", " at Night", " in Paris", " for Two", " of War", " and the Sea", " Returns", " on Fire")
FIRST_RATING = 1_000_000_000
RATING_SPAN_S = 200 * 86_400


def made_up_items(seed: int, count: int) -> pd.DataFrame:
    """item_id, title, year, genres; at most 4,000 items, whose titles are distinct."""
    random = np.random.default_rng([seed, 2])
    words = [f"{first} {second}{third}" for first in FIRST for second in SECOND for third in THIRD]
    sizes = random.integers(1, 4, size=count)
    return pd.DataFrame(
        {
            "item_id": [f"f{row}" for row in range(count)],
            "title": [words[row] for row in random.choice(len(words), size=count, replace=False)],
            "year": random.integers(1930, 2000, size=count).astype(str),
            "genres": [tuple(str(g) for g in sorted(random.choice(GENRES, size=size, replace=False))) for size in sizes],
        }
    )


def made_up_ratings(seed: int, items: pd.DataFrame, users: int) -> pd.DataFrame:
    """40 to 120 ratings a user, of popular items more often: 3.5 + genre taste + quality + a rank-3 part + noise, in 1..5."""
    random = np.random.default_rng([seed, 3])
    has_genre = np.array([[genre in genres for genre in GENRES] for genres in items["genres"]], dtype=float)  # (N, G)
    quality, hidden = random.normal(0, 0.5, len(items)), random.normal(0, 1, (len(items), 3))
    popularity = np.exp(random.normal(0, 1, len(items)) + quality)
    popularity /= popularity.sum()
    parts = []
    for user in range(users):
        size = min(int(random.integers(40, 121)), len(items))
        rated = random.choice(len(items), size=size, replace=False, p=popularity)
        liking = has_genre[rated] @ random.normal(0, 0.5, len(GENRES)) + hidden[rated] @ random.normal(0, 0.3, 3)
        stars = np.clip(np.rint(3.5 + liking + quality[rated] + random.normal(0, 0.7, size)), 1, 5)
        ts = FIRST_RATING + np.sort(random.integers(0, RATING_SPAN_S, size))
        ids = items["item_id"].to_numpy()[rated]
        parts.append(pd.DataFrame({"user_id": str(user + 1), "item_id": ids, "rating": stars, "ts": ts}))
    return pd.concat(parts, ignore_index=True)
