"""What users of both arms did with what they were shown, hour by hour of the draw, read back from the lake."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from models.sequential import HourlyArms
from pipelines.hours import hour_range, hours_between, shift
from pipelines.lake.holds import without_poisoned
from pipelines.lake.tables import read_table
from pipelines.registry.staging import Evidence
from pipelines.settings import Settings
from pipelines.steps.bots import of_bots
from pipelines.steps.score_users import CHALLENGER_ARM, PRODUCTION_ARM
from pipelines.steps.shown_slates import REWARD_QUANTILE


def read_evidence(settings: Settings, first: str, until: str, versions: dict[str, int], releases: Sequence[str] | None) -> Evidence:
    """Of slates drawn from ``first`` on and shown up to ``until``; by the challenger's ``releases``, beside production's of the same hours.

    releases: None for all users' slates, as if in production's arm. Drawn by the policy; poisoned hours and bots are left out. A user's
    hour counts the reward of all showings of its slate, as known now, scaled down beyond the REWARD_QUANTILE.
    """
    age, hours = max(0, hours_between(first, until)), without_poisoned(settings, hour_range(shift(first, 1), until))
    if not hours:
        return Evidence([], HourlyArms(*np.zeros((3, 0, 2))), age)
    drawn = _drawn(settings, first, until, versions["slate_decisions"], releases)
    earned = _earned(settings, hours, versions["training_examples"], drawn["slate_id"])
    rows = drawn.merge(earned, on="slate_id")
    arms = [PRODUCTION_ARM, CHALLENGER_ARM]
    groups = rows.groupby(["hour", "arm"])["reward"].agg(["size", "mean", "var"])
    found = sorted(rows["hour"].unique())
    grid = groups.reindex(pd.MultiIndex.from_product([found, arms])).fillna(0.0).to_numpy().reshape(len(found), 2, 3)
    return Evidence(found, HourlyArms(grid[..., 0], grid[..., 1], grid[..., 2]), age)


def _drawn(settings: Settings, first: str, until: str, version: int, releases: Sequence[str] | None) -> pd.DataFrame:
    """slate_id, hour and arm of the slates of users with a history, in hours whose users were shared between these arms."""
    where = (pc.field("source") == "policy") & (pc.field("hour") >= first) & (pc.field("hour") < until)
    columns = ["slate_id", "hour", "arm", "arm_share", "release_id"]
    drawn = read_table(settings, "slate_decisions", version=version, where=where, columns=columns).to_pandas()
    if releases is None:
        return drawn.assign(arm=PRODUCTION_ARM)[["slate_id", "hour", "arm"]]
    shared = drawn["hour"].isin(drawn.loc[drawn["release_id"].isin(releases) & (drawn["arm"] == CHALLENGER_ARM), "hour"])
    return drawn.loc[shared & (drawn["arm_share"] < 1), ["slate_id", "hour", "arm"]]


def _earned(settings: Settings, hours: Sequence[str], version: int, slates: pd.Series) -> pd.DataFrame:
    """slate_id and reward of what was shown in these hours, by the last revision of each example; not to bots."""
    columns = ["example_id", "revision", "slate_id", "user_id", "ts", "reward"]
    where = pc.field("slate_id").is_valid()
    table = read_table(settings, "training_examples", hours=hours, version=version, where=where, columns=columns)
    frame = table.to_pandas().sort_values("revision", kind="stable").drop_duplicates("example_id", keep="last")
    frame = frame[frame["slate_id"].isin(slates)]
    bots = of_bots(pa.array(frame["user_id"], pa.string()), pa.array(frame["ts"]), frame["reward"].to_numpy() > 0)
    earned = frame[~bots].groupby("slate_id", as_index=False)["reward"].sum()
    if len(earned):
        earned["reward"] = earned["reward"].clip(upper=float(np.quantile(earned["reward"], REWARD_QUANTILE)))
    return earned
