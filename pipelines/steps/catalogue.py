"""The catalogue of an hour for the steps that need no Spark: items and vectors at the ledger's versions."""

from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.tables import read_table
from pipelines.steps.step import Attempt

if TYPE_CHECKING:
    from spark_jobs.catalogue import Catalogue

MADE_BY = {
    "items": "ingest", "item_embeddings": "embed_items", "query_embeddings": "embed_items", "training_examples": "build_examples",
    "user_features": "build_features", "item_features": "build_features",
}  # fmt: skip


def input_version(current: Attempt, table: str) -> int:
    """The version of the table that the ledger names for the attempt's last hour; noted among its inputs."""
    step, hour = MADE_BY[table], current.hours[-1]
    done = ledger.last_done(current.settings, step, hour)
    if done is None or table not in done.outputs:
        raise UserError(f"hour {hour} has no finished {step} that names {table}; run build_features for it first")
    current.inputs[table] = done.outputs[table]
    return done.outputs[table]


def hour_catalogue(current: Attempt, encoder_version: str) -> "Catalogue":
    """Items, their vectors by this encoder and those of searches, as the data half left them."""
    from spark_jobs.catalogue import build_catalogue, current_rows

    names = ("items", "item_embeddings", "query_embeddings")
    items, vectors, queries = (read_table(current.settings, table, version=input_version(current, table)) for table in names)
    return build_catalogue(current_rows(items), vectors, encoder_version, queries)
