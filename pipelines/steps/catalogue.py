"""The catalogue of an hour for the steps that need no Spark: items and vectors at the ledger's versions."""

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from pipelines.errors import UserError
from pipelines.lake import ledger
from pipelines.lake.made_by import MADE_BY
from pipelines.lake.tables import read_table
from pipelines.steps.step import Attempt

if TYPE_CHECKING:
    import pyarrow as pa

    from spark_jobs.catalogue import Catalogue


def input_version(current: Attempt, table: str) -> int:
    """The version of the table that the ledger names for the attempt's last hour; noted among its inputs."""
    step, hour = MADE_BY[table], current.hours[-1]
    done = ledger.last_done(current.settings, step, hour)
    if done is None:
        raise UserError(f"hour {hour} has no finished {step}; run build_features for it first")
    current.inputs[table] = done.outputs[table]
    return done.outputs[table]


def has_vectors(current: Attempt, encoder_version: str) -> bool:
    """Whether the hour's items were encoded by this encoder: one that was chosen since is first asked by the next hour."""
    where = pc.field("encoder_version") == encoder_version
    at = input_version(current, "item_embeddings")
    return len(read_table(current.settings, "item_embeddings", version=at, where=where, columns=["item_id"])) > 0


def hour_catalogue(current: Attempt, encoder_version: str) -> "Catalogue":
    """Items, their vectors by this encoder and those of searches, as the data half left them."""
    from spark_jobs.catalogue import build_catalogue, current_rows

    items, vectors = (
        read_table(current.settings, table, version=input_version(current, table)) for table in ("items", "item_embeddings")
    )
    return build_catalogue(current_rows(items), vectors, encoder_version, _queries(current))


def _queries(current: Attempt) -> "pa.Table | None":
    """None for an hour that an earlier release made, when nothing was known of searches."""
    done = ledger.last_done(current.settings, MADE_BY["query_embeddings"], current.hours[-1])
    if done is None or "query_embeddings" not in done.outputs:
        return None
    return read_table(current.settings, "query_embeddings", version=input_version(current, "query_embeddings"))
