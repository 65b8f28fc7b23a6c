"""Open Bandit small (Saito et al. 2020, CC BY 4.0) out of obp's wheel, as logs for ``recloop ope``.

A fashion shop showed items by two policies at once: Bernoulli Thompson sampling (bts) and uniformly at random. What random earned is
therefore known, and the log of bts can be asked for it.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.errors import UserError
from pipelines.local.pinned_wheel import Wheel, fetch_wheel

OBP = Wheel("obp==0.4.1", "obp-0.4.1-py3-none-any.whl", "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208")
CAMPAIGNS = ("all", "men", "women")
_MEMBER = "obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"


@dataclass(frozen=True)
class BanditLog:
    """``earned``: mean reward of the policy that the log judges, where that policy was really shown; ``shown``: of how many decisions."""

    path: Path
    rows: int
    earned: float
    shown: int


def write_open_bandit(folder: Path, cache: Path, campaign: str = "all", wheel: Wheel = OBP) -> BanditLog:
    """``open-bandit-<campaign>.parquet``: what bts showed, with the uniform policy as the one to judge.

    Raises UserError for a campaign that is none, and as ``fetch_wheel`` does.
    """
    if campaign not in CAMPAIGNS:
        raise UserError(f"campaign is {campaign!r}, expected one of {', '.join(CAMPAIGNS)}")
    fetched = fetch_wheel(wheel, cache)
    shown = {policy: _rows(fetched, policy, campaign) for policy in ("bts", "random")}
    uniform = shown["random"]["propensity"].unique()
    if len(uniform) != 1:
        raise UserError(f"{fetched} is not Open Bandit as published: its random policy has {len(uniform)} propensities, expected one")
    log = shown["bts"].assign(target_propensity=uniform[0], outside=0.0)
    path = folder / f"open-bandit-{campaign}.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    log.to_parquet(unfinished, index=False)
    unfinished.replace(path)
    return BanditLog(path, len(log), float(shown["random"]["reward"].mean()), len(shown["random"]))


def _rows(wheel: Path, policy: str, campaign: str) -> pd.DataFrame:
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read(_MEMBER.format(policy=policy, campaign=campaign))
    rows = pd.read_csv(io.BytesIO(raw), usecols=["timestamp", "item_id", "position", "click", "propensity_score"])
    names = {"timestamp": "ts", "click": "reward", "propensity_score": "propensity", "position": "place"}
    return rows.rename(columns=names).astype({"reward": float, "item_id": str})
