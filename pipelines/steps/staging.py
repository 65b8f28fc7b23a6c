"""The challenger of an hour: whether one begins, goes on, wins or ends, and the row in ``releases`` that says so.

A trial is the lineage's whole update. What production showed can tell how good a small step is, and a step that it cannot judge is served
only in part; the whole is then shown to a share of the users, and judged by what they do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clock import now
from pipelines.hours import hours_between, shift
from pipelines.lake import ledger
from pipelines.lake.holds import holds
from pipelines.lake.metrics import Metric, read_metrics, write_metrics
from pipelines.registry.gates import Decision, Figure, Measured, decide_promotion, load_gates, shown_worse
from pipelines.registry.releases import (
    ABSTAINED,
    PRODUCTION,
    REJECTED,
    STAGING,
    ReleaseRow,
    all_releases,
    challenger_before,
    lineage_rows,
    release_folder,
)
from pipelines.registry.staging import TRIAL, Evidence, StagingDecision, StagingRule, decide_staging, load_rules, power_sentence
from pipelines.steps.arm_rewards import read_evidence
from pipelines.steps.candidates import CHALLENGER, POLICY, RANKER, challenger_folder
from pipelines.steps.catalogue import input_version
from pipelines.steps.step import Attempt

if TYPE_CHECKING:
    from pipelines.registry.runs import Run

LIFT = "staging_lift"  # of a lineage: its reward less production's, as a share of production's
POWER_H = 24  # hours whose slates tell how long a trial takes
_ENDINGS = {"lost": REJECTED, "invalid": REJECTED, "futile": ABSTAINED}


@dataclass(frozen=True)
class Staged:
    """What an hour decides on a challenger: its row, which has no id yet, and where its models lie."""

    row: ReleaseRow
    models: Mapping[str, Path]

    @property
    def wins(self) -> bool:
        return self.row.stage == PRODUCTION


@dataclass(frozen=True)
class StagingStep:
    """The hour whose decision is made, production as judged against, and the run that versions are registered with."""

    current: Attempt
    tracked: "Run"
    champion: ReleaseRow

    def staged(self) -> Staged | None:
        """The hour's word on the challenger in staging, or on one that begins; None where there is none and none begins."""
        running = challenger_before(self.current.settings, self.hour)
        return self._judged(running) if running else self._begun()

    @property
    def hour(self) -> str:
        return self.current.hours[-1]

    def _judged(self, running: ReleaseRow) -> Staged:
        settings, versions = self.current.settings, lineage_rows(self.current.settings, running.lineage)
        found = self._evidence(versions[0].since, [row.release_id for row in versions])
        decision = decide_staging(found, load_rules()[running.kind], self._number(running))
        if decision.measured:
            lift = decision.lift
            write_metrics(settings, self.hour, [Metric(LIFT, running.lineage, lift.mean, lift.low, lift.high, found.users)])
        guard = self._guard()
        stage, why = self._outcome(decision, guard)
        if guard is not None and guard.verdict == "promote":
            numbers, models = self._registered(running.lineage), self._models()
        else:
            numbers, models = dict(running.versions), _models_of(release_folder(settings, running.release_id))
        gates = (*decision.figures, *(guard.figures if guard else ()))
        return Staged(self._row(running.kind, running.lineage, stage, why, gates, numbers), models)

    def _outcome(self, decision: StagingDecision, guard: Decision | None) -> tuple[str, str]:
        """Stage and reason; ``guard``: how the newest version came through its own gates, where the hour left one."""
        why = decision.reason
        if decision.ending in _ENDINGS:
            return _ENDINGS[decision.ending], why
        if guard is not None and guard.verdict == "reject" and shown_worse(guard.figures, load_gates("staging")):
            return REJECTED, f"{'; '.join(guard.reasons)}; {why}"
        if decision.ending is None:
            return STAGING, why
        if held := holds(self.current.settings, "promotions"):
            return STAGING, f"{why}; promotions are held: {'; '.join(held.values())}"
        if guard is None or guard.verdict != "promote":
            return STAGING, f"{why}; not promoted yet: {'; '.join(guard.reasons) if guard else 'the hour left no version of it'}"
        return PRODUCTION, why

    def _begun(self) -> Staged | None:
        """The whole of this hour's update, where too little of it could be served and its own gates let it through."""
        settings, rule, guard = self.current.settings, load_rules()[TRIAL], self._guard()
        share = next((found.value for found in read_metrics(settings, self.hour, "update_share")), 1.0)
        if guard is None or guard.verdict != "promote" or share >= rule.begins_below or self._rests(rule) or holds(settings, "promotions"):
            return None
        lineage, lately = f"{TRIAL}-{self.hour}", self._evidence(shift(self.hour, -POWER_H), None)
        why = (
            f"begins: the log could judge {share:.0%} of the update, {rule.share:.0%} of the users are shown the whole; "
            f"{power_sentence(lately, rule, 1)}"
        )
        versions = dict(self.champion.versions) | self._registered(lineage)
        return Staged(self._row(TRIAL, lineage, STAGING, why, guard.figures, versions), self._models())

    def _guard(self) -> Decision | None:
        """The hour's version of the challenger by the gates of staging; None where there is none."""
        if not all(path.exists() for path in self._models().values()):
            return None
        found = read_metrics(self.current.settings, self.hour, "gate_")
        return decide_promotion(measured_figures(found, CHALLENGER), load_gates("staging"))

    def _rests(self, rule: StagingRule) -> bool:
        """Whether an undecided trial ended lately: nothing new is known yet."""
        ended = [row.hour for row in all_releases(self.current.settings) if row.kind == TRIAL and row.stage == ABSTAINED]
        return bool(ended) and hours_between(max(ended), self.hour) < rule.rest_h

    def _number(self, running: ReleaseRow) -> int:
        """The how-manieth challenger of its kind this is."""
        lineages = dict.fromkeys(row.lineage for row in all_releases(self.current.settings) if row.kind == running.kind)
        return list(lineages).index(running.lineage) + 1

    def _evidence(self, first: str, releases: Sequence[str] | None) -> Evidence:
        current, decisions = self.current, "slate_decisions"
        current.inputs[decisions] = ledger.newest_output(current.settings, "score_users", decisions)
        input_version(current, "training_examples")
        return read_evidence(current.settings, first, self.hour, current.inputs, releases)

    def _models(self) -> dict[str, Path]:
        return _models_of(challenger_folder(self.current.settings, self.hour))

    def _registered(self, lineage: str) -> dict[str, str]:
        """The numbers of the challenger's newest models."""
        from pipelines.registry.versions import register

        settings, tags = self.current.settings, {"lineage": lineage}
        own = {kind: register(settings, self.tracked, kind, path, self.hour, tags) for kind, path in self._models().items()}
        return dict(self.champion.versions) | own

    def _row(
        self, kind: str, lineage: str, stage: str, why: str, gates: Sequence[Figure], versions: Mapping[str, str]
    ) -> ReleaseRow:  # fmt: skip
        return ReleaseRow(
            release_id="", hour=self.hour, versions=versions, kind=kind, stage=stage, decided_by=self.current.step,
            since=shift(self.hour, 1), decided_at=now(self.current.settings, self.hour), lineage=lineage,
            reasons=(f"{lineage} {why}",), gates=tuple(gates), compared_with=self.champion.release_id,
        )  # fmt: skip


def measured_figures(figures: Sequence[Metric], *subjects: str) -> dict[str, Measured]:
    """The gate figures of these subjects, by the names that gates ask for."""
    return {
        metric.name.removeprefix("gate_"): Measured(metric.value, metric.low, metric.high, metric.n)
        for metric in figures
        if metric.subject in subjects and metric.low is not None and metric.high is not None and metric.n is not None
    }


def _models_of(folder: Path) -> dict[str, Path]:
    return {kind: folder / kind for kind in (RANKER, POLICY)}
