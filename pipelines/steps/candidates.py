"""What fine-tuning and the policy refresh leave for the release decision: a folder an hour, and the lineage through it."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.hours import shift
from pipelines.lake import ledger
from pipelines.local.landing import write_file
from pipelines.registry.gates import load_gates, shown_worse
from pipelines.registry.releases import MAIN, REJECTED, ROLLBACK, all_releases
from pipelines.registry.staging import TRIAL
from pipelines.settings import Settings

if TYPE_CHECKING:
    from models.ranker import Ranker

RANKER, POLICY, STATE = "ranker", "policy", "ranker_state"
BOTH, RANKER_ONLY = "both", "ranker only"  # what is judged beside production: with the new policy, or with production's
CHALLENGER = "challenger"  # what would be, or is, in staging: its folder of a candidate, and the subject of its figures
CANDIDATE_OF = "the candidate of "  # an hour follows: how the ledger says what a pass went on from
RANKER_STEP, POLICY_STEP = "finetune_ranker", "refresh_policy"
KEPT_HOURS = 72
_CHAMPION = "measured_against"


def candidate_folder(settings: Settings, hour: str) -> Path:
    """``ranker``, ``policy``, ``ranker_state`` (with the optimizer), ``versions.json``, ``measured_against``, and a ``challenger``."""
    return settings.home / "candidates" / hour


def note_champion(settings: Settings, hour: str, release_id: str | None) -> None:
    """Which release the hour's candidate is measured against, and its step was cut by."""
    write_file(candidate_folder(settings, hour) / _CHAMPION, f"{release_id or ''}\n".encode())


def noted_champion(settings: Settings, hour: str) -> str | None:
    path = candidate_folder(settings, hour) / _CHAMPION
    return path.read_text().strip() or None if path.exists() else None


def challenger_folder(settings: Settings, hour: str) -> Path:
    """``ranker`` and ``policy`` of what goes on, or would go, to staging with this hour."""
    return candidate_folder(settings, hour) / CHALLENGER


def keep_challenger(settings: Settings, hour: str, ranker: "Ranker | None") -> None:
    """Saves the ranker of the hour's challenger; where there is none, what an earlier attempt left goes."""
    from models.artifacts import save_ranker

    shutil.rmtree(challenger_folder(settings, hour), ignore_errors=True)
    if ranker is not None:
        save_ranker(ranker, challenger_folder(settings, hour) / RANKER)


def note_version(settings: Settings, hour: str, kind: str, version: str) -> None:
    """Adds the registered version of one kind to the candidate."""
    found = noted_versions(settings, hour) | {kind: version}
    write_file(candidate_folder(settings, hour) / "versions.json", (json.dumps(found, indent=2) + "\n").encode())


def noted_versions(settings: Settings, hour: str) -> dict[str, str]:
    path = candidate_folder(settings, hour) / "versions.json"
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def base_hour(settings: Settings, before: str) -> str | None:
    """The newest hour before this one whose candidate the lineage goes on from; one that was shown to be worse is a dead end.

    Where the whole of it lost its trial, or production was rolled back, so is all that was learned up to then.
    """
    gates, releases = load_gates("refresh"), all_releases(settings)
    worse = {row.hour for row in releases if row.stage == REJECTED and row.lineage == MAIN and shown_worse(row.gates, gates)}
    lost = max((row.hour for row in releases if row.kind == ROLLBACK or (row.kind == TRIAL and row.stage == REJECTED)), default="")
    made = {row.hour for row in ledger.rows(settings, RANKER_STEP) if row.status == "done"} - worse
    there = (hour for hour in made if lost < hour < before and (candidate_folder(settings, hour) / STATE).exists())
    return max(there, default=None)


def prune_candidates(settings: Settings, hour: str) -> None:
    """Removes candidates older than KEPT_HOURS, but never the lineage's last."""
    base, oldest = base_hour(settings, shift(hour, 1)), shift(hour, -KEPT_HOURS)
    for folder in (settings.home / "candidates").glob("????-??-??T??"):
        if folder.name < oldest and folder.name != base:
            shutil.rmtree(folder)
