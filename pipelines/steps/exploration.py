"""How much the draws explore: the temperature at which they cost as much of the expected reward as the root allows."""

import pyarrow as pa
import pyarrow.compute as pc

from models.slates import exploring_temperature
from pipelines.lake.tables import read_batches, read_table
from pipelines.steps.catalogue import input_version
from pipelines.steps.draws import draw_rules
from pipelines.steps.policy_learning import Lineage
from pipelines.steps.step import Attempt
from spark_jobs.business_rules import BusinessRules
from spark_jobs.candidates import describe, retrieve
from spark_jobs.catalogue import Catalogue, current_rows, item_state
from spark_jobs.item_rules import item_rules
from spark_jobs.ranker_inputs import user_states

USERS = 512


def temperature(current: Attempt, lineage: Lineage, catalogue: Catalogue) -> float | None:
    """``policy.temperature``, else solved for ``policy.explore_cost`` on what the new ranker would choose from for some users of now.

    None where nobody has a history yet. Business rules are left out.
    """
    settings, hour = current.settings, current.hours[-1]
    if settings.policy.temperature is not None:
        return settings.policy.temperature
    users = _some_users(current)
    if users is None:
        return None
    config, rules = lineage.ranker.config, draw_rules(settings, hour, BusinessRules())
    release = lineage.composed(lineage.policy)
    found = read_table(settings, "item_features", version=input_version(current, "item_features"))
    items = item_state(catalogue, found, rules.at, config.item_counters)
    state = user_states(users, catalogue, rules.at, config.user_counters)
    known = current_rows(read_table(settings, "items", version=input_version(current, "items")))
    of_items = item_rules(rules.business, known)
    rows, mask = retrieve(release, users["user_id"].to_pylist(), state, catalogue, items, rules, of_items)
    utility = describe(release, state, catalogue, items, rows, mask).features[..., 0]
    rule = settings.policy
    reward, highest = utility.sigmoid(), rule.highest_temperature
    return exploring_temperature(utility, reward, mask, rules.size, rule.explore_cost, rule.logit_range, settings.seed, highest)[0]


def _some_users(current: Attempt) -> pa.Table | None:
    """Feature rows of the first USERS users that have a history."""
    kept: list[pa.RecordBatch] = []
    for batch in read_batches(current.settings, "user_features", version=input_version(current, "user_features")):
        kept.append(batch.filter(pc.fill_null(pc.greater(pc.list_value_length(batch["recent"]), 0), False)))
        if sum(map(len, kept)) >= USERS:
            break
    known = pa.Table.from_batches(kept).slice(0, USERS) if kept else None
    return known if known is not None and len(known) else None
