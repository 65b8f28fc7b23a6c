"""What fine-tuning and the policy refresh leave for the release decision: a folder an hour, and the lineage through it."""

import json
import shutil
from pathlib import Path

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.local.landing import write_file
from pipelines.registry.gates import load_gates, shown_worse
from pipelines.registry.releases import REJECTED, all_releases
from pipelines.settings import Settings

RANKER, POLICY, STATE = "ranker", "policy", "ranker_state"
BOTH, RANKER_ONLY = "both", "ranker only"  # what is judged beside production: with the new policy, or with production's
RANKER_STEP, POLICY_STEP = "finetune_ranker", "refresh_policy"
KEPT_HOURS = 72


def candidate_folder(settings: Settings, hour: str) -> Path:
    """``ranker``, ``policy`` and ``ranker_state`` (with the optimizer) of the hour, and ``versions.json``."""
    return settings.home / "candidates" / hour


def note_version(settings: Settings, hour: str, kind: str, version: str) -> None:
    """Adds the registered version of one kind to the candidate."""
    found = noted_versions(settings, hour) | {kind: version}
    write_file(candidate_folder(settings, hour) / "versions.json", (json.dumps(found, indent=2) + "\n").encode())


def noted_versions(settings: Settings, hour: str) -> dict[str, str]:
    path = candidate_folder(settings, hour) / "versions.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def base_hour(settings: Settings, before: str) -> str | None:
    """The newest hour before this one whose candidate the lineage goes on from; one that was shown to be worse is a dead end."""
    gates = load_gates("refresh")
    worse = {row.hour for row in all_releases(settings) if row.stage == REJECTED and shown_worse(row.gates, gates)}
    made = {row.hour for row in ledger.rows(settings, RANKER_STEP) if row.status == "done"} - worse
    there = (hour for hour in made if hour < before and (candidate_folder(settings, hour) / STATE).exists())
    return max(there, default=None)


def prune_candidates(settings: Settings, hour: str) -> None:
    """Removes candidates older than KEPT_HOURS, but never the lineage's last."""
    base, oldest = base_hour(settings, shift(hour, 1)), shift(hour, -KEPT_HOURS)
    for folder in (settings.home / "candidates").glob("????-??-??T??"):
        if folder.name < oldest and folder.name != base:
            shutil.rmtree(folder)
