"""What the scored table promises its readers, looked for in the rows before they are published: counts by reason, in one pass."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from spark_jobs.contracts import DEFAULT_USER
from spark_jobs.item_rules import BLOCKED, UNAVAILABLE

REASONS = {
    "repeated": "slates hold an item twice",
    "misplaced": "slates hold a position twice, or one out of place",
    "overlong": "slates hold more than K items",
    "propensity": "rows have a propensity that is not in (0, 1]",
    "score": "rows have a score that is not finite",
    "unknown": "rows are of items that the catalogue does not hold",
    "unavailable": "rows are of items that are not available",
    "blocked": "rows are of items that the business rules block",
    "several": "users have two slates on a surface",
    "undecided": "rows are not of the release and arm that was decided",
    "default": f"surfaces have no slate of {DEFAULT_USER}",
}
_OF_ROWS = ("propensity", "score", "unknown", "unavailable", "blocked", "undecided")


@dataclass(frozen=True)
class Promise:
    """size: K, the most items of a slate. releases: those that may have drawn the slates of each arm.

    gaps: whether rows may have been cut out of a slate, so that positions are 0..K-1 with some missing.
    """

    size: int
    releases: Mapping[str, Collection[str]]
    gaps: bool = False


def broken_per_reason(rows: DataFrame, items: DataFrame, promise: Promise) -> DataFrame:
    """One row: ``rows``, how many there are, and for each of REASONS how often it was found.

    rows: as ``scored_rows`` makes them. items: each ``item_id`` of the catalogue once, and why it is ``hidden`` (``hidden_items``).
    """
    known = rows.join(F.broadcast(items.withColumn("known", F.lit(True))), on="item_id", how="left")
    rowwise = [F.count_if(condition).alias(name) for name, condition in _broken_row(promise).items()]
    slates = known.groupBy("user_id", "surface").agg(
        F.count(F.lit(1)).alias("rows"), F.array_sort(F.collect_list("position")).alias("positions"),
        F.size(F.collect_set("item_id")).alias("items"), F.size(F.collect_set("slate_id")).alias("slates"), *rowwise,
    )  # fmt: skip
    slatewise = [F.count_if(condition).alias(name) for name, condition in _broken_slate(promise).items()]
    sums = [F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("rows", *_OF_ROWS)]
    return slates.agg(*sums, *slatewise, _without_default().alias("default"))


def _broken_row(promise: Promise) -> dict[str, Column]:
    propensity, score, hidden = F.col("propensity"), F.col("score"), F.col("hidden")
    infinite = F.abs(score) == float("inf")
    return {
        "propensity": ~F.coalesce((propensity > 0) & (propensity <= 1), F.lit(False)),
        "score": score.isNull() | F.isnan(score) | infinite,
        "unknown": F.col("known").isNull(),
        "unavailable": F.coalesce(hidden == UNAVAILABLE, F.lit(False)),
        "blocked": F.coalesce(hidden == BLOCKED, F.lit(False)),
        "undecided": ~F.coalesce(_decided(promise), F.lit(False)),
    }


def _decided(promise: Promise) -> Column:
    found = F.lit(False)
    for arm, releases in promise.releases.items():
        found = found | ((F.col("arm") == arm) & F.col("release_id").isin(list(releases)))
    return found


def _broken_slate(promise: Promise) -> dict[str, Column]:
    rows, positions = F.col("rows"), F.col("positions")
    outside = (F.element_at(positions, 1) < 0) | (F.element_at(positions, -1) >= promise.size)
    cut = (F.size(F.array_distinct(positions)) < rows) | outside
    whole = positions != F.sequence(F.lit(0), rows.cast("int") - 1)
    return {
        "repeated": F.col("items") < rows, "misplaced": F.coalesce(cut if promise.gaps else whole, F.lit(True)),
        "overlong": rows > promise.size, "several": F.col("slates") > 1,
    }  # fmt: skip


def _without_default() -> Column:
    """Surfaces on which nobody else than known users has a slate; 1 where there is no row at all."""
    surfaces = F.size(F.collect_set("surface"))
    served = F.size(F.collect_set(F.when(F.col("user_id") == DEFAULT_USER, F.col("surface"))))
    return F.greatest(surfaces, F.lit(1)) - served


def only_showable(rows: DataFrame, items: DataFrame, size: int) -> DataFrame:
    """Scored rows less what is hidden or gone by now, each at the position it was drawn at: positions get gaps."""
    showable = items.where(F.col("hidden").isNull()).select("item_id")
    return rows.where(F.col("position") < size).join(F.broadcast(showable), on="item_id", how="left_semi")
