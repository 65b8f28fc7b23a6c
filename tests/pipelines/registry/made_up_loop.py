"""A root whose hours are made up, for what decides on releases: no Spark, a real MLflow."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from pipelines.clock import wall_clock
from pipelines.hours import end_of, parse_hour, shift
from pipelines.lake import ledger
from pipelines.lake.ledger import LedgerRow
from pipelines.lake.metrics import Metric, write_metrics
from pipelines.lake.tables import table_path, table_version
from pipelines.registry.releases import (
    ReleaseRow,
    all_releases,
    append_decision,
    challenger_before,
    displaced_by,
    production_before,
    release_folder,
)
from pipelines.registry.runs import tracked_run
from pipelines.registry.versions import register
from pipelines.steps import promote_models
from pipelines.steps.candidates import STATE, candidate_folder, challenger_folder, note_champion, note_version
from pipelines.steps.draws import Draws
from pipelines.steps.encoders import encoder_spec
from spark_jobs.contracts import TABLES

START = "2026-11-10T08"
HOURS = [shift(START, n) for n in range(40)]
USERS = 1200
SURE = (0.02, 0.01, 0.03, 90_000)
GATES = {
    "finite": (1.0, 1.0, 1.0, 1), "auc_per_user_difference": SURE, "auc_per_user_difference_hour": SURE,
    "normalized_entropy_ratio": (-0.02, -0.03, -0.01, 90_000), "calibration_slope": (1.0, 0.95, 1.05, 90_000),
    "slate_entropy_ratio": (0.9, 0.9, 0.9, 2_000), "exposure_ratio": (1.0, 1.0, 1.0, 2_000),
}  # fmt: skip


def append(settings, name, rows):
    data = pa.Table.from_pylist(rows, schema=TABLES[name].schema)
    write_deltalake(str(table_path(settings, name)), data, mode="append", partition_by=list(TABLES[name].partition) or None)


def note(settings, step, hour, **outputs):
    ledger.write_rows(settings, [LedgerRow(hour, step, "done", "code", wall_clock(), wall_clock(), outputs=outputs)])


class Loop:
    """A root whose hours are made up: what its users did, and what fine-tuning and the policy refresh left."""

    def __init__(self, settings, save_release):
        self.settings, self._save, self._random = settings, save_release, np.random.default_rng(4)

    def release(self):
        spec, folder = encoder_spec(self.settings), release_folder(self.settings, "r000001")
        self._save(folder, 32, spec.version)
        with tracked_run(self.settings, "promote_models", START) as tracked:
            paths = {"encoder": promote_models.Path(spec.path), "ranker": folder / "ranker", "policy": folder / "policy"}
            numbers = {kind: register(self.settings, tracked, kind, path, START) for kind, path in paths.items()}
        row = ReleaseRow("r000001", START, numbers, "bootstrap", "production", "promote_models", START, end_of(START))
        append_decision(self.settings, row, None)

    def hour(self, number, lift=0.0, before=0.0, share=0.2, whole=True, gates=GATES, decide=True, refresh=None):
        """The slates that hour ``number`` - 1 drew are shown; then the hour's candidate and its decision.

        lift, before: what challengers' slates pay more than production's, and what those of what was displaced do.
        gates, refresh: figures of the challenger, and what is different in those of the refresh.
        """
        hour = HOURS[number]
        self._shown(HOURS[number - 1], {"challenger": 1 + lift, "predecessor": 1 + before})
        own, encoder = candidate_folder(self.settings, hour), encoder_spec(self.settings).version
        self._save(own, 32, encoder, seed=number)
        (own / STATE).mkdir()
        with tracked_run(self.settings, "finetune_ranker", hour) as tracked:
            for kind in ("ranker", "policy"):
                note_version(self.settings, hour, kind, register(self.settings, tracked, kind, own / kind, hour))
        if whole:
            self._save(challenger_folder(self.settings, hour), 32, encoder, seed=100 + number)
        value = {"policy_value_ratio": (0.01, 0.001, 0.02, 1_500), "mass_outside_support": (0.02, 0.01, 0.03, 256)}
        subjects = dict.fromkeys(("ranker", "both", "ranker only"), GATES | value | (refresh or {}))
        subjects |= {"challenger": gates} if whole else {}
        found = [Metric(f"gate_{name}", subject, *figure) for subject, figures in subjects.items() for name, figure in figures.items()]
        write_metrics(self.settings, hour, [*found, Metric("update_share", "ranker", share)])
        note_champion(self.settings, hour, production_before(self.settings, hour).release_id)
        for step in ("finetune_ranker", "refresh_policy"):
            note(self.settings, step, hour)
        return promote_models.decide(self.settings, hour) if decide else None

    def _shown(self, hour, levels):
        settings, production = self.settings, production_before(self.settings, hour)
        displaced = displaced_by(settings, production, hour, 24)
        arms = Draws(production, challenger_before(settings, hour), displaced[1] if displaced else None, None).arms
        chance = (np.arange(USERS) % 100 + 0.5) / 100
        arm_of = np.searchsorted(np.cumsum([share for _, share, _ in arms]), chance)
        decisions, examples, at = [], [], parse_hour(shift(hour, 1)) + timedelta(minutes=9)
        about = {
            "surface": "home", "candidates": [], "logits": [], "action": [], "propensities": [], "scores": [], "user_vector": [],
            "candidate_features": [], "temperature": 0.2, "rules": "", "seed": 7, "feature_versions": [], "source": "policy",
            "hour": hour, "versions": {"encoder": "1", "ranker": "1", "policy": "1"},
        }  # fmt: skip
        for user in range(USERS):
            arm, share, row = arms[arm_of[user]]
            slate, level = f"{hour}-{user}", levels.get(arm, 1.0)
            named = {"arm": arm, "arm_share": share, "release_id": row.release_id}
            decisions.append(about | named | {"slate_id": slate, "user_id": f"u{user}"})
            examples.append({
                "example_id": slate, "revision": 0, "user_id": f"u{user}", "item_id": "i", "ts": at, "known_at": at, "position": 0,
                "labels": {}, "reward": float(self._random.poisson(level)), "reward_version": "v", "user": {"recent": []}, "item": {},
                "slate_id": slate, "hour": shift(hour, 1),
            })  # fmt: skip
        for name, rows, step, noted in (
            ("slate_decisions", decisions, "score_users", hour), ("training_examples", examples, "build_examples", shift(hour, 1)),
        ):  # fmt: skip
            append(settings, name, rows)
            note(settings, step, noted, **{name: table_version(settings, name)})

    def rows(self, number):
        return [row for row in all_releases(self.settings) if row.hour == HOURS[number]]
