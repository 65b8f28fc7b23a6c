"""A root of one's own: settings with every default in sight, landing folders, and a sample line of each kind."""

import json
from pathlib import Path

from pipelines.clock import wall_clock
from pipelines.errors import UserError
from pipelines.hours import hour_of
from pipelines.local.landing import write_file
from pipelines.settings import CONFIG, Settings, load_settings

SAMPLE = "_sample.jsonl"  # a name that no hour takes
_REACTION: dict[str, dict[str, object]] = {
    "ecommerce": {"type": "purchase", "value": 49.9}, "video": {"type": "watch", "value": 5120.5}, "social": {"type": "like"},
}  # fmt: skip
_HEAD = """# What this root changes of the packaged defaults; an unknown key is an error. RECLOOP__SECTION__KEY overrides both.
domain: {domain}
lake:
  start_hour: null            # to be set: the hour whose end closes the first load. `recloop import` proposes one for a log;
                              # where events only begin to land now, it is {hour}
airflow:
  schedule: hourly            # the hour just ended, after airflow.grace_minutes; manual: hours are triggered by hand

# Every key with its default. To change one, write it without the mark under its section's name, each section once.
"""
_LEFT_OUT = ("#", "domain:", "failpoint:")


def init_root(settings: Settings, domain: str) -> Path:
    """Writes ``recloop.yaml`` and the landing folders. Raises UserError where the root has settings already."""
    path = settings.home / "recloop.yaml"
    if path.exists():
        raise UserError(f"{path} is there already; edit it, or choose another folder with --home")
    now = wall_clock()
    for kind, record in _samples(domain, now.isoformat(timespec="seconds")).items():
        write_file(settings.landing / kind / SAMPLE, (json.dumps(record, ensure_ascii=False) + "\n").encode())
    defaults = (CONFIG / "defaults.yaml").read_text(encoding="utf-8") + (CONFIG / f"{domain}.yaml").read_text(encoding="utf-8")
    kept = [line for line in defaults.splitlines() if line.strip() and not line.startswith(_LEFT_OUT)]
    lines = [f"# {line}" for line in kept]
    write_file(path, (_HEAD.format(domain=domain, hour=hour_of(now)) + "\n".join(lines) + "\n").encode())
    load_settings(settings.home)
    return path


def _samples(domain: str, ts: str) -> dict[str, dict[str, object]]:
    about: dict[str, object] = {"request_id": "request-1", "user_id": "user-1", "item_id": "item-1", "ts": ts}
    return {
        "items": {"item_id": "item-1", "title": "What it is called", "text": "What it is about", "tags": ["one", "two"]},
        "impressions": about | {"position": 0, "surface": "home"},
        "feedback": about | _REACTION[domain],
    }
