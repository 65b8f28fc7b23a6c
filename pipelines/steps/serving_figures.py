"""What is served in an hour and what came of it: fallbacks, coverage, concentration, how soon new items are met, reward."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.metrics import gini, mean_of_clusters
from pipelines.hours import end_of, parse_hour
from pipelines.lake.metrics import Metric
from pipelines.lake.tables import read_table
from pipelines.settings import Settings
from pipelines.steps.bots import without_bots
from pipelines.steps.user_hours import ItemDates

FALLBACKS, COVERAGE, GINI, DELAY, REWARD = "share_of_fallbacks", "coverage", "exposure_gini", "new_item_delay_h", "reward_a_slate"
SERVED, LOG = "scores", "log"  # subjects
_TS = pa.timestamp("us", tz="UTC")


def served_figures(settings: Settings, version: int, dates: ItemDates) -> list[Metric]:
    """Of ``scores``: the shares of rows and of users that no history speaks for; of the available items, how many are there, how evenly."""
    rows = read_table(settings, "scores", version=version, columns=["user_id", "item_id", "source"])
    if not len(rows):
        return []
    other = pc.not_equal(rows["source"], "policy")
    users, without = (pc.count_distinct(ids).as_py() for ids in (rows["user_id"], rows["user_id"].filter(other)))
    figures = [
        Metric(FALLBACKS, "rows", float(pc.mean(other.cast(pa.float64())).as_py()), n=len(rows)),
        Metric(FALLBACKS, "users", without / users, n=users),
    ]
    place = pc.drop_null(pc.index_in(rows["item_id"].combine_chunks(), value_set=dates.ids)).to_numpy()
    times = np.bincount(place, minlength=len(dates.ids))[dates.available]
    if times.sum():
        figures += [Metric(COVERAGE, SERVED, float((times > 0).mean()), n=len(times)), Metric(GINI, SERVED, gini(times), n=len(times))]
    return figures


def new_item_delay(settings: Settings, hour: str, version: int, dates: ItemDates) -> list[Metric]:
    """Median hours from an item's landing to its first event, of the items that had it in this hour. ``version``: of item_features.

    Items of the first load are no new ones.
    """
    start, end = parse_hour(hour), end_of(hour)
    inside = (pc.field("first_seen") >= pa.scalar(start, _TS)) & (pc.field("first_seen") < pa.scalar(end, _TS))
    met = read_table(settings, "item_features", version=version, where=inside, columns=["item_id", "first_seen"])
    landed = dates.landed.take(pc.index_in(met["item_id"].combine_chunks(), value_set=dates.ids)).to_pylist()
    first_load = settings.lake.start_hour or ""
    known = [(end_of(own), at) for own, at in zip(landed, met["first_seen"].to_pylist(), strict=True) if own and own > first_load]
    delays = [max(timedelta(0), at - since).total_seconds() / 3600 for since, at in known]
    return [Metric(DELAY, LOG, float(np.median(delays)), n=len(delays))] if delays else []


def observed_reward(settings: Settings, hour: str, version: int) -> list[Metric]:
    """Mean reward of the slates that were shown in the hour, as known at its end, without late feedback. ``version``: of the examples."""
    columns = ["user_id", "slate_id", "reward", "ts", "labels", "negative_source"]
    first = pc.field("revision") == 0
    rows = read_table(settings, "training_examples", hours=[hour], version=version, where=first, columns=columns)
    rows = without_bots(rows, settings.reward.tasks[0])
    slates = rows.filter(pc.is_valid(rows["slate_id"])).group_by(["slate_id", "user_id"]).aggregate([("reward", "sum")])
    if not len(slates):
        return []
    users = slates["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    mean, low, high = mean_of_clusters(slates["reward_sum"].to_numpy(), users)
    return [Metric(REWARD, LOG, mean, low, high, n=len(slates)) if np.isfinite(low) else Metric(REWARD, LOG, mean, n=len(slates))]
