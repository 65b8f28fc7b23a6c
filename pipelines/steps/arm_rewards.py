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
from pipelines.steps.shown_slates import REWARD_QUANTILE
from spark_jobs.arms import CHALLENGER_ARM, PRODUCTION_ARM

REWARD = "reward"


def read_evidence(
    settings: Settings, first: str, until: str, versions: dict[str, int], arms: tuple[str, str], releases: Sequence[str]
) -> Evidence:
    """Of slates drawn from ``first`` on and shown up to ``until``, in both ``arms``, in hours in which these ``releases`` drew for one.

    Drawn by the policy; poisoned hours and bots are left out. A user's hour counts the reward of all showings of its slate, as known now,
    scaled down beyond the REWARD_QUANTILE.
    """
    drawn = _drawn(settings, first, until, versions)
    own = drawn["release_id"].isin(releases) & drawn["arm"].isin(arms)
    return _evidence(settings, drawn[drawn["hour"].isin(drawn.loc[own, "hour"])], first, until, versions, arms)


def read_lately(settings: Settings, first: str, until: str, versions: dict[str, int]) -> Evidence:
    """The same of everybody's slates, as if all were in production's arm: how rewards vary."""
    everybody = _drawn(settings, first, until, versions).assign(arm=PRODUCTION_ARM)
    return _evidence(settings, everybody, first, until, versions, (PRODUCTION_ARM, CHALLENGER_ARM))


def _evidence(
    settings: Settings, drawn: pd.DataFrame, first: str, until: str, versions: dict[str, int], arms: tuple[str, str]
) -> Evidence:
    age, hours = max(0, hours_between(first, until)), without_poisoned(settings, hour_range(shift(first, 1), until))
    if not hours:
        return Evidence([], HourlyArms(*np.zeros((3, 0, 2))), age)
    rows = drawn.merge(_earned(settings, hours, versions["training_examples"], drawn["slate_id"]), on="slate_id")
    tasks: dict[str, HourlyArms] = {term.task: _by_arm(rows, term.task, arms) for term in settings.reward.terms}
    return Evidence(sorted(rows["hour"].unique()), _by_arm(rows, REWARD, arms), age, tasks)


def _by_arm(rows: pd.DataFrame, column: str, arms: tuple[str, str]) -> HourlyArms:
    hours = sorted(rows["hour"].unique())
    groups = rows.groupby(["hour", "arm"])[column].agg(["size", "mean", "var"])
    grid = groups.reindex(pd.MultiIndex.from_product([hours, arms])).fillna(0.0).to_numpy().reshape(len(hours), 2, 3)
    return HourlyArms(grid[..., 0], grid[..., 1], grid[..., 2])


def _drawn(settings: Settings, first: str, until: str, versions: dict[str, int]) -> pd.DataFrame:
    """slate_id, hour, arm and release_id of the slates of users with a history."""
    where = (pc.field("source") == "policy") & (pc.field("hour") >= first) & (pc.field("hour") < until)
    columns = ["slate_id", "hour", "arm", "release_id"]
    return read_table(settings, "slate_decisions", version=versions["slate_decisions"], where=where, columns=columns).to_pandas()


def _earned(settings: Settings, hours: Sequence[str], version: int, slates: pd.Series) -> pd.DataFrame:
    """slate_id, reward and reactions by task of what was shown in these hours, by the last revision of each example; not to bots.

    Every column is the better the more there is of it: a reaction that counts against is negative.
    """
    columns = ["example_id", "revision", "slate_id", "user_id", "ts", REWARD, "labels"]
    where = pc.field("slate_id").is_valid()
    table = read_table(settings, "training_examples", hours=hours, version=version, where=where, columns=columns)
    labels, sign = table["labels"], {term.task: 1.0 if term.weight >= 0 else -1.0 for term in settings.reward.terms}
    frame = table.drop_columns(["labels"]).to_pandas()
    for task, times in sign.items():
        frame[task] = times * pc.fill_null(pc.struct_field(labels, task), 0.0).to_numpy()
    frame = frame.sort_values("revision", kind="stable").drop_duplicates("example_id", keep="last")
    frame = frame[frame["slate_id"].isin(slates)]
    bots = of_bots(pa.array(frame["user_id"], pa.string()), pa.array(frame["ts"]), frame[REWARD].to_numpy() > 0)
    earned = frame[~bots].groupby("slate_id", as_index=False)[[REWARD, *sign]].sum()
    if len(earned):
        earned[REWARD] = earned[REWARD].clip(upper=float(np.quantile(earned[REWARD], REWARD_QUANTILE)))
    return earned
