"""Scoring on executors: users in, slate decisions out; then the slates and the scored rows that readers see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from deltalake import DeltaTable
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from models.records import SlateLimits
from spark_jobs.arms import arm_of
from spark_jobs.candidates import describe, retrieve
from spark_jobs.catalogue import Catalogue, KnownItems, build_catalogue, current_rows, item_state
from spark_jobs.contracts import DEFAULT_USER, TABLES
from spark_jobs.drawing import Draw, as_lists, draw_slates, has_history, most_similar_seen, slate_ids, slate_logits
from spark_jobs.item_rules import ItemRules, item_rules
from spark_jobs.ranker_inputs import user_states
from spark_jobs.release import DrawRules, Release, load_release

_DRAWN = ("slate_id", "user_id", "candidates", "logits", "action", "propensities", "scores", "nearest_seen", "user_vector",
          "candidate_features", "source", "offsets", "categories", "category_cap", "pinned", "temperature")  # fmt: skip
_DRAWN_SCHEMA = pa.schema([TABLES["slate_decisions"].schema.field(name) for name in _DRAWN])
_ARM_SCHEMA = _DRAWN_SCHEMA.append(TABLES["slate_decisions"].schema.field("arm"))


@dataclass(frozen=True)
class ScoringSpec:
    """All that a worker needs to draw: where the tables lie, at which versions, which release, which rules."""

    warehouse: str
    table_versions: tuple[tuple[str, int], ...]
    release_folder: str
    release_id: str
    task_rewards: tuple[float, ...]
    rules: DrawRules


@dataclass(frozen=True)
class Arm:
    """Users in this share are shown what this release draws."""

    name: str
    share: float
    spec: ScoringSpec


@dataclass(frozen=True)
class ScoringInputs:
    """What all users of one hour share."""

    release: Release
    catalogue: Catalogue
    items: KnownItems
    rules: ItemRules


@lru_cache(maxsize=3)  # production, a challenger, a predecessor
def scoring_inputs(spec: ScoringSpec) -> ScoringInputs:
    """Models and catalogue of the spec, read once a process."""
    torch.set_num_threads(1)
    release = load_release(spec.release_folder, spec.release_id, spec.task_rewards)
    config, tables = release.ranker.config, dict(spec.table_versions)
    known = current_rows(_table(spec.warehouse, "items", tables["items"]))
    embeddings = _table(spec.warehouse, "item_embeddings", tables["item_embeddings"])
    catalogue = build_catalogue(known, embeddings, config.encoder_version)
    features = _table(spec.warehouse, "item_features", tables["item_features"])
    items = item_state(catalogue, features, spec.rules.at, config.item_counters)
    return ScoringInputs(release, catalogue, items, item_rules(spec.rules.business, known))


def _table(warehouse: str, name: str, version: int) -> pa.Table:
    return DeltaTable(str(Path(warehouse) / name), version=version).to_pyarrow_table()


def decisions(users: DataFrame, arms: Sequence[Arm], salt: str = "") -> DataFrame:
    """One drawn slate for each row of ``user_features`` and for the default user, by the release of the user's arm in this hour."""
    rules, shares = arms[0].spec.rules, [arm.share for arm in arms]
    default = users.sparkSession.range(1).select(F.lit(DEFAULT_USER).alias("user_id"), F.lit(rules.at).alias("as_of"))
    everybody = users.unionByName(default, allowMissingColumns=True)

    def draw(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            number = arm_of(batch.column("user_id").to_pylist(), salt, rules.hour_number, shares)
            for own, arm in enumerate(arms):
                if (number == own).any():
                    drawn = _draw_of(arm, batch.filter(pa.array(number == own)))
                    yield drawn.append_column(_ARM_SCHEMA.field("arm"), pa.array([arm.name] * drawn.num_rows))

    from pyspark.sql.pandas.types import from_arrow_schema

    return everybody.mapInArrow(draw, from_arrow_schema(_ARM_SCHEMA))


class ArmError(RuntimeError):
    """A release that cannot draw, with the name of its arm: the driver leaves the arm out."""


def _draw_of(arm: Arm, users: pa.RecordBatch) -> pa.RecordBatch:
    try:
        return draw_batch(users, arm.spec)
    except Exception as error:
        raise ArmError(f"arm {arm.name}: {arm.spec.release_id} cannot draw: {type(error).__name__}: {error}") from error


def draw_batch(users: pa.RecordBatch, spec: ScoringSpec) -> pa.RecordBatch:
    """Decisions of these users."""
    shared, rules = scoring_inputs(spec), spec.rules
    release, catalogue, items = shared.release, shared.catalogue, shared.items
    user_ids = users.column("user_id").to_pylist()
    state = user_states(users, catalogue, rules.at, release.ranker.config.user_counters)
    rows, mask = retrieve(release, user_ids, state, catalogue, items, rules, shared.rules)
    candidates, limits = describe(release, state, catalogue, items, rows, mask), shared.rules.limits(rows, rules.size)
    offset = shared.rules.offset[rows]
    drawn = draw_slates(slate_logits(release, state, candidates, items, offset), user_ids, candidates, catalogue, rules, limits)
    chosen = rows.gather(1, drawn.action)
    known = has_history(state).tolist()
    source = [_source(user, has) for user, has in zip(user_ids, known, strict=True)]
    nearest = most_similar_seen(state, catalogue, chosen)
    drawn = replace(drawn, utility=release.best_reward * drawn.utility.sigmoid())
    values = _columns(user_ids, candidates.rows, candidates.mask, drawn, chosen, nearest, catalogue, spec)
    values["temperature"] = pa.array(np.full(len(user_ids), release.policy.temperature))
    values |= {"source": pa.array(source), "user_vector": pa.array(list(candidates.user_vectors.numpy()), pa.list_(pa.float32()))}
    width = candidates.features.shape[2]
    flat = candidates.features.reshape(len(user_ids), -1).numpy()
    values["candidate_features"] = as_lists(flat, mask.sum(1).numpy() * width)
    values |= _by_rule(offset, limits, mask.sum(1).numpy())
    return pa.RecordBatch.from_arrays([values[name].cast(_DRAWN_SCHEMA.field(name).type) for name in _DRAWN], schema=_DRAWN_SCHEMA)


def _source(user_id: str, known: bool) -> str:
    return "fallback" if user_id == DEFAULT_USER else ("policy" if known else "cold_start")


def _columns(user_ids: list[str], rows: torch.Tensor, mask: torch.Tensor, drawn: Draw, chosen: torch.Tensor,
             nearest: torch.Tensor, catalogue: Catalogue, spec: ScoringSpec) -> dict[str, pa.Array]:  # fmt: skip
    """The draw's arrays; padding beyond the valid candidates is cut off, which leaves C and K of each row as they are."""
    counts = mask.sum(1).numpy()
    shown = (drawn.propensity > 0).sum(1).numpy()
    names = np.array(["", *catalogue.ids.to_pylist()], dtype=object)
    items = [names[own[:k]].tolist() for own, k in zip(chosen.numpy(), shown, strict=True)]
    return {
        "slate_id": pa.array(slate_ids(user_ids, spec.release_id, spec.rules, items)),
        "user_id": pa.array(user_ids),
        "candidates": as_lists(names[rows.numpy()], counts),
        "logits": as_lists(drawn.logits.numpy(), counts),
        "action": as_lists(drawn.action.numpy().astype(np.int32), shown),
        "propensities": as_lists(drawn.propensity.numpy(), shown),
        "scores": as_lists(drawn.utility.double().numpy(), shown),
        "nearest_seen": as_lists(names[nearest.numpy()], shown),
    }


def _by_rule(offset: torch.Tensor, limits: SlateLimits, counts: NDArray[np.int64]) -> dict[str, pa.Array]:
    """What rules added to the logits and bound the draw by; null where no rule did."""
    none, everybody = pa.nulls(len(counts)), np.full(len(counts), limits.pinned.shape[1])
    capped, cap = limits.category >= 0, limits.cap.amin(1)
    return {
        "offsets": as_lists(offset.double().numpy(), counts) if offset.any() else none,
        "categories": as_lists(limits.category.numpy().astype(np.int32), counts) if capped.any() else none,
        "category_cap": pa.array(cap.numpy().astype(np.int32)) if capped.any() else none,
        "pinned": as_lists(limits.pinned.numpy().astype(np.int32), everybody) if (limits.pinned >= 0).any() else none,
    }


def slate_rows(decided: DataFrame) -> DataFrame:
    """The slate log: one row a position of each decision."""
    each = decided.select("*", F.posexplode("action").alias("position", "index"))
    return each.select(
        "slate_id", "position", "user_id", "surface", F.get("candidates", F.col("index")).alias("item_id"),
        F.get("propensities", F.col("position")).alias("propensity"), F.get("scores", F.col("position")).alias("score"),
        "source", "hour",
    )  # fmt: skip


def scored_rows(decided: DataFrame, generated_at: str) -> DataFrame:
    """The scored table: the slates with where each row came from."""
    details = decided.select("slate_id", "arm", "release_id", "versions", "nearest_seen")
    rows = slate_rows(decided).join(details, on="slate_id", how="inner")
    nearest = F.get("nearest_seen", F.col("position"))
    reason = F.when(F.col("source") != "policy", F.lit("popular this week")).when(
        F.length(nearest) > 0, F.concat(F.lit("like item "), nearest)
    )
    return rows.withColumns({"reason": reason, "generated_at": F.lit(generated_at).cast("timestamp")}).drop("nearest_seen")
