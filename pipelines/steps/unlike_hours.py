"""Hours unlike the others are held before anything learns from them: they are counted, and teach and judge nothing until a person says so.

An hour is told by what people did with what they were shown: how often they reacted, what that paid, how much each of them was shown,
and how much of it all went to the ten items with most reactions. Each figure is compared with those of the same hour of earlier days: it
is unlike them beyond `gates.hold_band` median absolute deviations of their median. Before there are enough such days, it is compared with
all hours of the last week, nights and days: their middle four fifths, and as far beyond as the band reaches at its narrowest.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.lake.control import read_rows
from pipelines.lake.holds import hold, step_of
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.settings import Settings
from pipelines.steps.example_batches import holds_unshown

RATE, REWARD, SHOWN, TOP = "hour_label_rate", "hour_reward", "hour_impressions_a_user", "hour_top_ten_share"
MEANING = {
    RATE: "share of impressions with a reaction", REWARD: "reward an impression", SHOWN: "impressions a user",
    TOP: "share of the reactions that ten items got",
}  # fmt: skip
SUBJECT = "log"
LEAST_USERS = 50  # of fewer, an hour tells too little: it is neither judged nor compared with
SAME_HOUR_DAYS, LEAST_DAYS = 28, 5
LAST_HOURS, LEAST_HOURS = 168, 24
RELATIVE, OF_SHARE = 0.08, 0.02  # the least deviation: of the median, of the top items' share

Figures = Mapping[str, float]


def hold_unlike(settings: Settings, hours: Sequence[str], impressions: Callable[[str], pa.Table]) -> dict[str, str]:
    """Reason by hour of what is held now. Writes each hour's figures, and the holds, once: what a person lifted stays lifted.

    hours: in order; impressions: of an hour, revision 0 of what people were shown, without bots.
    """
    band, found = settings.gates.hold_band, dict[str, str]()
    if band is None or not hours:
        return found
    earlier = _earlier(settings, hours[0])
    decided = {row.hour for row in ledger.rows(settings, step_of("poison"))}
    for hour in hours:
        users, figures = told_by(impressions(hour), settings.reward.tasks[0])
        write_metrics(settings, hour, [Metric(name, SUBJECT, value, n=users) for name, value in figures.items()])
        if users < LEAST_USERS:
            continue
        reason = unlike(figures, expected(hour, earlier, band))
        earlier[hour] = figures
        if reason and hour not in decided:
            hold(settings, "poison", hour, reason)
            found[hour] = reason
    return found


def told_by(impressions: pa.Table, task: str) -> tuple[int, dict[str, float]]:
    """How many users were shown anything, and the figures of the hour; nothing of an hour that does not say what was shown."""
    users = pc.count_distinct(impressions["user_id"]).as_py()
    if not users or holds_unshown(impressions):
        return 0, {}
    label = pc.fill_null(pc.struct_field(impressions["labels"].combine_chunks(), task), 0.0).to_numpy(zero_copy_only=False)
    reacted = impressions["item_id"].filter(pa.array(label > 0)).value_counts().field("counts").to_numpy()
    return users, {
        RATE: float(label.mean()), REWARD: float(pc.mean(impressions["reward"]).as_py()), SHOWN: len(impressions) / users,
        TOP: float(np.sort(reacted)[-10:].sum() / max(1, reacted.sum())),
    }  # fmt: skip


def expected(hour: str, earlier: Mapping[str, Figures], band: float) -> dict[str, tuple[float, float, int]]:
    """By figure the lowest and the highest that is like others, and of how many hours that is known; nothing where they are too few."""
    same = [found for other, found in earlier.items() if shift(hour, -24 * SAME_HOUR_DAYS) <= other < hour and other[11:] == hour[11:]]
    last = [found for other, found in earlier.items() if shift(hour, -LAST_HOURS) <= other < hour]
    others, of_any_hour = (same, False) if len(same) >= LEAST_DAYS else (last, True)
    if of_any_hour and len(last) < LEAST_HOURS:
        return {}
    return {name: _range(name, np.array([found[name] for found in others]), band, of_any_hour) for name in MEANING}


def _range(name: str, known: NDArray[np.float64], band: float, of_any_hour: bool) -> tuple[float, float, int]:
    middle = float(np.median(known))
    least = OF_SHARE if name == TOP else RELATIVE * abs(middle)
    if of_any_hour:
        low, high = np.quantile(known, [0.1, 0.9]).tolist()
        return low - band * least, high + band * least, len(known)
    reach = band * max(float(np.median(np.abs(known - middle))), least)
    return middle - reach, middle + reach, len(known)


def unlike(figures: Figures, ranges: Mapping[str, tuple[float, float, int]]) -> str | None:
    """Which figures leave their range, in words; None where none does, or nothing is there to compare with."""
    words = [
        f"{MEANING[name]} is {figures[name]:.3g}, expected {max(low, 0.0):.3g} to {high:.3g} as in {hours} hours"
        for name, (low, high, hours) in ranges.items() if not low <= figures[name] <= high
    ]  # fmt: skip
    return "; ".join(words) or None


def _earlier(settings: Settings, before: str) -> dict[str, Figures]:
    """Figures by hour, in order, of the hours before this one that told enough; the held ones count too, or a change would never end."""
    oldest = shift(before, -24 * SAME_HOUR_DAYS)
    where = pc.field("name").isin(list(MEANING)) & (pc.field("hour") >= oldest) & (pc.field("hour") < before)
    found: dict[str, dict[str, float]] = {}
    for row in sorted(read_rows(settings, "metrics", where=where), key=lambda row: str(row["hour"])):
        if (row["n"] or 0) >= LEAST_USERS:
            found.setdefault(row["hour"], {})[row["name"]] = row["value"]
    return dict(found)
