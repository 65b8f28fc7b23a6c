"""Labels and rewards of reactions, by the domain's one reward definition."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from spark_jobs.contracts import REACTIONS


class RewardTerm(Protocol):
    """A line of the reward definition: reaction ``task`` pays ``weight`` × min(label, cap)."""

    @property
    def task(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def cap(self) -> float: ...
    @property
    def per_attribute(self) -> str | None: ...
    @property
    def positive_from(self) -> float | None: ...
    @property
    def per_value(self) -> float | None: ...


def with_label(feedback: DataFrame, items: DataFrame, terms: Sequence[RewardTerm]) -> DataFrame:
    """Adds ``label`` in [0, cap] to each reaction: value/attribute, value/amount, value >= threshold, or 1.

    ``items``: the history with ``updated_hour``, ``attributes`` and, where a term has an amount, ``price``, read as of the reaction's
    ``hour``, whatever was learned of the item since. A reaction that needs an attribute its item lacked gets label 0; one that needs a
    value and has none counts with the item's price, or else with 1.
    """
    known_of = ["attributes", *(["price"] if any(term.per_value is not None for term in terms) else [])]
    following = F.lead("updated_hour").over(Window.partitionBy("item_id").orderBy("updated_hour"))
    states = items.select("item_id", *known_of, "updated_hour", following.alias("until"))
    known = (F.col("updated_hour") <= F.col("hour")) & (F.col("until").isNull() | (F.col("hour") < F.col("until")))
    states = states.withColumnRenamed("item_id", "state_of")
    joined = feedback.join(states, on=(F.col("item_id") == F.col("state_of")) & known, how="left")
    label = F.lit(1.0)
    for term in terms:
        label = F.when(F.col("type") == term.task, _label(term)).otherwise(label)
    return joined.withColumn("label", label).drop(*known_of, "updated_hour", "until", "state_of")


def feedback_rewards(labelled: DataFrame, terms: Sequence[RewardTerm]) -> DataFrame:
    """event_id, ``reward`` of the reaction, ``weight`` in [0, 1] for the user's history (reward over the largest term), and ``liked``.

    Somebody took to an item by a reaction that pays, with at least half of its full label.
    """
    largest = max(abs(term.weight) * term.cap for term in terms)
    reward = F.lit(0.0)
    for term in terms:
        reward = F.when(F.col("type") == term.task, F.col("label") * F.lit(float(term.weight))).otherwise(reward)
    with_reward = labelled.withColumn("reward", reward)
    weight = F.greatest(F.lit(0.0), F.col("reward") / largest).alias("weight")
    return with_reward.select("event_id", "reward", weight, liked(terms).alias("liked"))


def liked(terms: Sequence[RewardTerm]) -> Column:
    """Whether a reaction with ``type`` and ``label`` pays at least half of what it can."""
    found = F.lit(False)
    for term in (term for term in terms if term.weight > 0):
        found = F.when(F.col("type") == term.task, F.col("label") >= term.cap / 2).otherwise(found)
    return found


def labels_struct(label_of: Mapping[str, Column]) -> Column:
    """The ``labels`` column: one field a reaction, null where the definition does not use it."""
    null = F.lit(None).cast("double")
    return F.struct(*[label_of.get(reaction, null).cast("double").alias(reaction) for reaction in REACTIONS])


def reward_of(labels: str, terms: Sequence[RewardTerm]) -> Column:
    """Reward of a ``labels`` struct column; a missing label pays nothing."""
    total = F.lit(0.0)
    for term in terms:
        total = total + F.coalesce(F.col(f"{labels}.{term.task}"), F.lit(0.0)) * F.lit(float(term.weight))
    return total


def _label(term: RewardTerm) -> Column:
    return F.least(F.lit(float(term.cap)), _uncapped(term))


def _uncapped(term: RewardTerm) -> Column:
    value = F.coalesce(F.col("value"), F.lit(0.0))
    if term.per_attribute is not None:
        whole = F.element_at("attributes", F.lit(term.per_attribute)).try_cast("double")
        known = (whole > 0) & (whole < float("inf"))  # NaN is above every number
        share = F.when(known, value / whole).otherwise(0.0)
        return F.coalesce(share, F.lit(0.0))
    if term.per_value is not None:
        paid = F.coalesce(F.col("value"), F.col("price"))
        return F.coalesce(paid / F.lit(float(term.per_value)), F.lit(1.0))
    if term.positive_from is not None:
        return F.when(F.coalesce(F.col("value"), F.lit(1.0)) >= term.positive_from, 1.0).otherwise(0.0)
    return F.lit(1.0)
