"""The demo's first load: a catalogue and rating histories as landing files, the truth behind them, and ``recloop.yaml``."""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import end_of, hour_of, parse_hour
from pipelines.local.catalogue import RECBOLE, Catalogue, CatalogueKind, load_catalogue
from pipelines.local.drift import Speed
from pipelines.local.landing import Record, event_id, iso, pack, write_file
from pipelines.local.pinned_wheel import DownloadError, Wheel
from pipelines.local.world import World
from pipelines.local.world_fit import fit_world
from pipelines.settings import Settings

DAYS_BACK = 14
HISTORY_DAYS, HISTORY_PER_USER = 60, 30
MARKER = "demo_data.json"


@dataclass(frozen=True)
class DemoDataReport:
    """What lies in the landing folder. ``note``: why it is not what was asked for, or that it was there before."""

    kind: CatalogueKind
    seed: int
    speed: Speed
    start_hour: str
    source: str
    note: str
    users: int
    items: int
    withheld_items: int
    ratings: int


def write_demo_data(
    settings: Settings, kind: CatalogueKind, speed: Speed = "medium", wheel: Wheel = RECBOLE
) -> DemoDataReport:
    """Writes the first load, once a root. Read the settings anew afterwards: ``recloop.yaml`` has changed.

    Where MovieLens cannot be downloaded, the catalogue is made up and ``note`` says so. Raises UserError for a corrupt
    wheel, another domain than video, or a root that holds other demo data.
    """
    if settings.domain != "video":
        raise UserError(f"demo data is of domain video, found domain {settings.domain!r}; use another RECLOOP_HOME for the demo")
    if found := held_demo_data(settings):
        return _already_there(found, settings, kind, speed)
    catalogue, note = _catalogue(settings, kind, wheel)
    start_hour = settings.lake.start_hour or hour_of(wall_clock() - timedelta(days=DAYS_BACK))
    world = fit_world(catalogue, settings.seed, start_hour, speed)
    items, withheld = item_records(catalogue, world)
    history = history_records(catalogue, world)
    write_file(settings.landing / "items" / "catalogue.jsonl.gz", pack(items))
    write_file(settings.landing / "feedback" / "history.jsonl.gz", pack(history))
    write_file(settings.truth / "withheld.jsonl.gz", pack(withheld))
    world.save(settings.truth)
    _write_settings(settings, start_hour)
    report = DemoDataReport(
        kind, settings.seed, speed, start_hour, catalogue.source, note,
        users=len(world.user_ids), items=len(items), withheld_items=len(withheld), ratings=len(history),
    )  # fmt: skip
    write_file(settings.truth / MARKER, (json.dumps(asdict(report), indent=2) + "\n").encode())
    return report


def item_records(catalogue: Catalogue, world: World) -> tuple[list[Record], list[Record]]:
    """Landing records of what is published from the start, and of what is withheld, in order of publication."""
    from_start = (end_of(world.start_hour) - timedelta(days=HISTORY_DAYS + 1)).timestamp()
    minute = 60.0 * (1 + np.arange(len(world.published)) % 50)
    published = iso(np.where(world.published > 0, world.published * 3600 + minute, from_start))
    rows = catalogue.items.to_dict("records")
    records = [_item_record(row, ts) for row, ts in zip(rows, published, strict=True)]
    later = sorted((r for r, hour in zip(records, world.published, strict=True) if hour), key=lambda record: record["published_at"])
    return [record for record, hour in zip(records, world.published, strict=True) if not hour], later


def _item_record(row: dict[Any, Any], published_at: str) -> Record:
    title = f"{row['title']} ({row['year']})" if row["year"] else row["title"]
    genres = list(row["genres"])
    return {
        "item_id": row["item_id"],
        "title": title,
        "text": f"{title}. Genres: {', '.join(genres)}." if genres else f"{title}.",
        "tags": genres,
        "category": genres[0] if genres else "Unknown",
        "attributes": {"duration_s": str(row["duration_s"])},
        "published_at": published_at,
        "available": True,
    }


def history_records(catalogue: Catalogue, world: World) -> list[Record]:
    """Ratings of published items, a random half of the real user's for each copy, the latest HISTORY_PER_USER at most.

    Re-dated: spacing kept in proportion over HISTORY_DAYS, the last one a second before the end of the start hour.
    """
    there = {item for item, hour in zip(world.item_ids, world.published, strict=True) if not hour}
    ratings = catalogue.ratings[catalogue.ratings["item_id"].isin(there)]
    age = (ratings["ts"].max() - ratings["ts"]) / max(1, int(np.ptp(ratings["ts"]))) * (HISTORY_DAYS * 86_400 - 3600)
    ratings = ratings.assign(ts=end_of(world.start_hour).timestamp() - 1 - age.round())
    users = pd.DataFrame({"copy_id": world.user_ids})
    users["user_id"] = users["copy_id"].str.extract(r"^u(.*)-\d+$", expand=False)
    copied = users.merge(ratings, on="user_id").sort_values(["copy_id", "ts", "item_id"], kind="stable")
    kept = copied[np.random.default_rng([world.seed, 6]).random(len(copied)) < 0.5].groupby("copy_id").tail(HISTORY_PER_USER)
    rows = zip(kept["copy_id"], kept["item_id"], iso(kept["ts"]), kept["rating"].tolist(), strict=True)
    return [
        {"event_id": event_id("rating", user, item, ts), "user_id": user, "item_id": item, "ts": ts, "type": "rating", "value": stars}
        for user, item, ts, stars in rows
    ]


def held_demo_data(settings: Settings) -> DemoDataReport | None:
    """What was reported when the root got its demo data; None where it has none."""
    path = settings.truth / MARKER
    return DemoDataReport(**json.loads(path.read_text())) if path.exists() else None


def _already_there(found: DemoDataReport, settings: Settings, kind: CatalogueKind, speed: Speed) -> DemoDataReport:
    asked = (kind, settings.seed, speed, settings.lake.start_hour or found.start_hour)
    if asked != (found.kind, found.seed, found.speed, found.start_hour):
        raise UserError(
            f"{settings.home} holds demo data of {(found.kind, found.seed, found.speed, found.start_hour)}, asked for {asked} "
            "(catalogue, seed, drift, start hour); run `make clean`, or use another RECLOOP_HOME"
        )
    return DemoDataReport(**{**asdict(found), "note": "; ".join(filter(None, [found.note, "already there"]))})


def _catalogue(settings: Settings, kind: CatalogueKind, wheel: Wheel) -> tuple[Catalogue, str]:
    cache = settings.home / "cache"
    try:
        return load_catalogue(kind, cache, settings.seed, wheel), ""
    except DownloadError as error:
        return load_catalogue("made-up", cache, settings.seed), f"the catalogue is made up, since MovieLens is out of reach: {error}"


def _write_settings(settings: Settings, start_hour: str) -> None:
    """Adds what the demo needs to ``recloop.yaml``; a key that is there stays as it is."""
    parse_hour(start_hour)
    path = settings.home / "recloop.yaml"
    own = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}
    lake = {"start_hour": start_hour, "now": "loop"} | (own.get("lake") or {})
    airflow = {"schedule": "manual"} | (own.get("airflow") or {})
    merged = {"domain": settings.domain} | own | {"lake": lake, "airflow": airflow}
    if merged != own:
        write_file(path, yaml.safe_dump(merged, sort_keys=False, allow_unicode=True).encode())
