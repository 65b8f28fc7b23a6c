"""Where an encoder puts the catalogue: its vectors on their two widest axes, colored by category."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.lake import ledger
from pipelines.lake.made_by import MADE_BY
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from spark_jobs.catalogue import current_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_GROUPS, SHOWN_ITEMS = 8, 4000
OTHERS = "others"
Floats = NDArray[np.floating[Any]]


def encoder_map(settings: Settings, hour: str, encoder_version: str) -> "Figure | None":
    """Of the items as of the hour; None where this encoder has no vectors of them yet."""
    made = {table: ledger.last_done(settings, MADE_BY[table], hour) for table in ("items", "item_embeddings")}
    if any(row is None or table not in row.outputs for table, row in made.items()):
        return None
    at = {table: row.outputs[table] for table, row in made.items() if row is not None}
    own = pc.field("encoder_version") == encoder_version
    vectors = read_table(settings, "item_embeddings", version=at["item_embeddings"], columns=["item_id", "vector"], where=own)
    items = current_rows(read_table(settings, "items", version=at["items"]))
    place = pc.index_in(items["item_id"], value_set=vectors["item_id"].combine_chunks())
    known = items.filter(pc.is_valid(place))
    if len(known) < 3:
        return None
    found = vectors["vector"].combine_chunks().take(pc.drop_null(place).combine_chunks())
    return embedding_figure({encoder_version: np.asarray(found.flatten()).reshape(len(known), -1)}, item_groups(known))


def item_groups(items: pa.Table) -> list[str]:
    """Of each row its category, else its first tag, else "others"."""
    rows = zip(items["category"].to_pylist(), items["tags"].to_pylist(), strict=True)
    return [category or next(iter(tags or []), None) or OTHERS for category, tags in rows]


def embedding_figure(vectors: Mapping[str, Floats], groups: Sequence[str]) -> "Figure":
    """One panel an encoder: its vectors (N, D) of the same items, whose groups are (N,); a sample where there are many."""
    from pipelines.registry.figures import ABSTAIN, SERIES, new_picture

    some = np.sort(np.random.default_rng(7).permutation(len(groups))[:SHOWN_ITEMS])
    named = largest_groups(groups)
    picture, axes = new_picture(6.2 * len(vectors) + 1.6, 5.8, 1, columns=len(vectors))
    for axis, (encoder, found) in zip(axes, vectors.items(), strict=True):
        points, share = widest_axes(found)
        for name, color in [(OTHERS, ABSTAIN), *zip(named, cycle(color for color in SERIES if color != ABSTAIN), strict=False)]:
            own = [n for n in some if (groups[n] if groups[n] in named else OTHERS) == name]
            if own:
                axis.scatter(*points[own].T, s=9, alpha=0.35 if name == OTHERS else 0.7, lw=0, color=color, label=f"{name} ({len(own)})")
        axis.set(xticks=[], yticks=[], title=f"encoder {encoder}", xlabel=f"{share[0]:.0%} of the variance", ylabel=f"{share[1]:.0%} of it")
    axes[-1].legend(frameon=False, fontsize=8, markerscale=2, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    picture.suptitle(f"{len(some):,} of {len(groups):,} items on the two widest axes of their text vectors", fontsize=11)
    return picture


def largest_groups(groups: Sequence[str]) -> list[str]:
    """The SHOWN_GROUPS that most items are of, the largest first."""
    counted = Counter(group for group in groups if group != OTHERS)
    return [name for name, _ in sorted(counted.items(), key=lambda found: (-found[1], found[0]))[:SHOWN_GROUPS]]


def widest_axes(vectors: Floats) -> tuple[Floats, Floats]:
    """(N, 2) coordinates of vectors (N, D) on their first two principal axes, and the share of the variance along each."""
    centered = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0)
    variance, axes = np.linalg.eigh(centered.T @ centered)  # ascending
    widest = axes[:, ::-1][:, :2]
    widest = widest * np.sign(widest[np.abs(widest).argmax(0), [0, 1]])  # an eigenvector's sign is arbitrary
    return centered @ widest, variance[::-1][:2] / max(variance.sum(), 1e-12)
