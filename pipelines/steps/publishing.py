"""The scored table as a contract: rows are checked before they are published, and one commit changes only what differs."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pipelines.clock import now
from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.tables import read_table
from pipelines.lake.writes import overwrite, replace_changed, written_for
from pipelines.steps.business_rules import rules_in_force
from pipelines.steps.step import Attempt

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import DataFrame, SparkSession

    from spark_jobs.business_rules import BusinessRules


def items_of_hour(spark: "SparkSession", current: Attempt, business: "BusinessRules", at: "datetime") -> "DataFrame":
    """``hidden_items`` of the catalogue that the attempt draws from."""
    return _hidden_items(spark, current, current.inputs["items"], business, at)


def items_of_now(spark: "SparkSession", current: Attempt) -> "DataFrame":
    """``hidden_items`` of the newest catalogue, by the rules in force. Raises UserError for a file of rules that cannot be read."""
    version = ledger.newest_output(current.settings, "ingest", "items")
    return _hidden_items(spark, current, version, rules_in_force(current.settings)[0], now(current.settings, current.hours[0]))


def _hidden_items(spark: "SparkSession", current: Attempt, version: int, business: "BusinessRules", at: "datetime") -> "DataFrame":
    from spark_jobs.catalogue import current_rows
    from spark_jobs.item_rules import RULED_COLUMNS, hidden_items

    current.inputs["items"] = version
    items = read_table(current.settings, "items", version=version, columns=RULED_COLUMNS)
    return spark.createDataFrame(hidden_items(business, current_rows(items), at))


def check_scores(
    rows: "DataFrame", items: "DataFrame", current: Attempt, releases: Mapping[str, Collection[str]], *, gaps: bool = False
) -> int:
    """How many rows there are. Raises UserError where they are not what readers are promised; ``gaps``: rows were cut out of slates."""
    from spark_jobs.score_checks import REASONS, Promise, broken_per_reason

    size, hour = current.settings.slates.size, current.hours[0]
    counts = broken_per_reason(rows, items, Promise(size, releases, gaps)).toArrow().to_pylist()[0]
    if found := [f"{counts[name]} {said}" for name, said in REASONS.items() if counts[name]]:
        raise UserError(
            f"scores of {hour} are not published: {'; '.join(found)}; expected none of these in {counts['rows']} rows (K = {size}). "
            "Those of before stay; `recloop verify` tells whether a table is damaged; mend the cause and run this step again"
        )
    return int(counts["rows"])


def publish(rows: "DataFrame", current: Attempt) -> None:
    """One commit of what differs from the scores of before; that the same row was made once more is no difference.

    The first publication of an hour replaces all without looking: every row carries its hour, and what is damaged heals.
    """
    settings, hours, step = current.settings, current.hours, current.step
    if written_for(settings, "scores", hours):
        current.outputs["scores"] = replace_changed(rows, settings, "scores", hours, step, besides=["generated_at"])
    else:
        current.outputs["scores"] = overwrite(rows, settings, "scores", hours, step)
