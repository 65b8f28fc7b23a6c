"""An hour that no shop wants to learn from: half of the visitors click on everything that they are shown."""

from models.hashing import id_hash, uniform
from pipelines.local.landing import event_id, pack, unpack, write_once
from pipelines.settings import Settings

SHARE = 0.5
COPIED = ("request_id", "user_id", "item_id", "ts")  # of what was shown
_FARM = 61  # stream of the hash


def poison(settings: Settings, hour: str) -> int:
    """Lands a second feedback file of an hour that was played and not yet read; how many clicks it holds."""
    reactions, shown = (unpack(settings.landing / kind / f"{hour}.jsonl.gz") for kind in ("feedback", "impressions"))
    clicked = {(one["user_id"], one["item_id"]) for one in reactions if one["type"] == "click"}
    users = sorted({one["user_id"] for one in shown})
    farm = {user for user, chance in zip(users, uniform(settings.seed, _FARM, id_hash(users)), strict=True) if chance < SHARE}
    clicks = [
        {"event_id": event_id("farm", one["event_id"]), "type": "click"} | {name: one[name] for name in COPIED}
        for one in shown
        if one["user_id"] in farm and (one["user_id"], one["item_id"]) not in clicked
    ]
    write_once(settings.landing / "feedback" / f"{hour}-farm.jsonl.gz", pack(clicks))
    return len(clicks)
