"""The challenger of an hour: whether one begins, goes on, wins or ends, and the row in ``releases`` that says so.

A trial is the lineage's whole update. What production showed can tell how good a small step is, and a step that it cannot judge is served
only in part; the whole is then shown to a share of the users, and judged by what they do.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.clock import now
from pipelines.hours import hours_between, shift
from pipelines.lake import ledger
from pipelines.lake.holds import holds
from pipelines.lake.metrics import Metric, read_metrics, write_metrics
from pipelines.registry.gates import Decision, Figure, decide_promotion, gate_named, load_gates, shown_worse
from pipelines.registry.releases import (
    ABSTAINED,
    MAIN,
    PRODUCTION,
    REJECTED,
    ROLLBACK,
    STAGING,
    ReleaseRow,
    all_releases,
    challenger_before,
    displaced_by,
    lineage_rows,
    release_folder,
)
from pipelines.registry.staging import (
    GUARD,
    SAME,
    TRIAL,
    Evidence,
    StagingDecision,
    StagingRule,
    decide_staging,
    load_rules,
    power_sentence,
)
from pipelines.settings import Settings
from pipelines.steps.adapted_encoders import ENCODER, read_report
from pipelines.steps.arm_rewards import read_evidence, read_lately
from pipelines.steps.candidates import CHALLENGER, POLICY, RANKER, challenger_folder
from pipelines.steps.catalogue import input_version
from pipelines.steps.challengers import at_work, waiting
from pipelines.steps.gate_metrics import measured_figures
from pipelines.steps.step import Attempt
from spark_jobs.arms import CHALLENGER_ARM, PREDECESSOR_ARM, PRODUCTION_ARM

if TYPE_CHECKING:
    from pipelines.registry.runs import Run

LIFT = "staging_lift"  # of a lineage: its reward less production's, as a share of production's
GUARDED = "guard_lift"  # production's reward less that of what was displaced, as a share of the latter's
KEPT_H = 168  # hours; as long as feature versions are kept, a slate's score can be explained by its models
POWER_H = 24  # hours whose slates tell how long a trial takes
_ENDINGS = {"lost": REJECTED, "invalid": REJECTED, "futile": ABSTAINED}


@dataclass(frozen=True)
class Decided:
    """What an hour decides on production or a challenger: the row, which has no id yet, and where its models lie."""

    row: ReleaseRow
    models: Mapping[str, Path]


@dataclass(frozen=True)
class StagingStep:
    """The hour whose decision is made, production as judged against, and the run that versions are registered with."""

    current: Attempt
    tracked: "Run"
    champion: ReleaseRow

    def staged(self) -> Decided | None:
        """The hour's word on the challenger in staging, or on one that begins; None where there is none and none begins."""
        running = challenger_before(self.current.settings, self.hour)
        return self._judged(running) if running else self._begun()

    @property
    def hour(self) -> str:
        return self.current.hours[-1]

    def rolled_back(self) -> Decided | None:
        """The row that takes production back, where users do worse by it than by what a challenger displaced lately."""
        settings, rule = self.current.settings, load_rules()[GUARD]
        displaced = displaced_by(settings, self.champion, self.hour, rule.futile_h)
        if displaced is None:
            return None
        won, before = displaced
        found = self._evidence(won.since, (PREDECESSOR_ARM, PRODUCTION_ARM), [before.release_id])
        decision = decide_staging(found, rule)
        if decision.measured:
            lift = decision.lift
            write_metrics(settings, self.hour, [Metric(GUARDED, won.lineage, lift.mean, lift.low, lift.high, found.users)])
        if decision.ending != "lost":
            return None
        why = f"the guard: production since {won.release_id} {decision.reason}; back to {before.release_id}"
        row = replace(self._row(ROLLBACK, MAIN, PRODUCTION, "", decision.figures, before.versions), reasons=(why,))
        return Decided(row, _models_of(release_folder(settings, before.release_id)))

    def _judged(self, running: ReleaseRow) -> Decided:
        settings, versions = self.current.settings, lineage_rows(self.current.settings, running.lineage)
        found = self._evidence(versions[0].since, (PRODUCTION_ARM, CHALLENGER_ARM), [row.release_id for row in versions])
        decision = decide_staging(found, load_rules()[running.kind], self._number(running.kind, running.lineage))
        if decision.measured:
            lift = decision.lift
            write_metrics(settings, self.hour, [Metric(LIFT, running.lineage, lift.mean, lift.low, lift.high, found.users)])
        guard = self._guard()
        stage, why = self._of_same(decision) if running.kind == SAME else self._outcome(decision, guard)
        if guard is not None and guard.verdict == "promote":
            numbers, models = self._registered(running.lineage), self._models()
        else:
            numbers, models = dict(running.versions), _models_of(release_folder(settings, running.release_id))
        gates = (*decision.figures, *(guard.figures if guard else ()))
        return Decided(self._row(running.kind, running.lineage, stage, why, gates, numbers), models)

    def _outcome(self, decision: StagingDecision, guard: Decision | None) -> tuple[str, str]:
        """Stage and reason; ``guard``: how the newest version came through its own gates, where the hour left one."""
        why = decision.reason
        if decision.ending in _ENDINGS:
            return _ENDINGS[decision.ending], why
        if guard is not None and _is_broken(guard):
            return REJECTED, f"{'; '.join(guard.reasons)}; {why}"
        if decision.ending is None:
            return STAGING, why
        if held := holds(self.current.settings, "promotions"):
            return STAGING, f"{why}; promotions are held: {'; '.join(held.values())}"
        if guard is None or guard.verdict != "promote":
            return STAGING, f"{why}; not promoted yet: {'; '.join(guard.reasons) if guard else 'the hour left no version of it'}"
        if self.current.settings.gates.approval:
            return STAGING, f"{why}; waits for a person: the DAG approve_release, or `recloop promote` with its release"
        return PRODUCTION, why

    def _of_same(self, decision: StagingDecision) -> tuple[str, str]:
        """It is never promoted: told from production, it tells that staging errs."""
        if decision.ending is None:
            return STAGING, decision.reason
        said = "was not told from production" if decision.ending == "futile" else "a false alarm, it equals production but for its seed"
        return ABSTAINED, f"{said}: {decision.reason}"

    def _begun(self) -> Decided | None:
        """A challenger that waits, else this hour's whole update, where its own gates let it through."""
        settings, guard = self.current.settings, self._guard()
        if guard is None or holds(settings, "promotions"):
            return None
        own = waiting(settings)
        if own is not None and _is_broken(guard):
            why = f"was never shown: {'; '.join(guard.reasons)}"
            return Decided(self._row(own.kind, own.lineage, REJECTED, why, guard.figures, self._registered(own.lineage)), self._models())
        if guard.verdict != "promote":
            return None
        kind, lineage, why = (own.kind, own.lineage, own.reason) if own else (TRIAL, f"{TRIAL}-{self.hour}", self._why_on_trial())
        if not why:
            return None
        rule = load_rules()[kind]
        power = power_sentence(self._lately(), rule, self._number(kind, lineage))
        why = f"begins: {why}; {rule.share:.0%} of the users are shown it; {power}"
        return Decided(self._row(kind, lineage, STAGING, why, guard.figures, self._registered(lineage)), self._models())

    def _why_on_trial(self) -> str:
        """Empty where enough of the update could be served, or where an undecided trial rests."""
        rule = load_rules()[TRIAL]
        share = next((found.value for found in read_metrics(self.current.settings, self.hour, "update_share")), 1.0)
        return "" if share >= rule.begins_below or self._rests(rule) else f"the log could judge {share:.0%} of the whole update"

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

    def _number(self, kind: str, lineage: str) -> int:
        """The how-manieth challenger of its kind this is."""
        lineages = dict.fromkeys([row.lineage for row in all_releases(self.current.settings) if row.kind == kind] + [lineage])
        return list(lineages).index(lineage) + 1

    def _evidence(self, first: str, arms: tuple[str, str], releases: Sequence[str]) -> Evidence:
        return read_evidence(self.current.settings, first, self.hour, self._versions(), arms, releases)

    def _lately(self) -> Evidence:
        return read_lately(self.current.settings, shift(self.hour, -POWER_H), self.hour, self._versions())

    def _versions(self) -> dict[str, int]:
        """The tables that tell what was drawn and what came of it, noted among the attempt's inputs."""
        current, decisions = self.current, "slate_decisions"
        current.inputs[decisions] = ledger.newest_output(current.settings, "score_users", decisions)
        input_version(current, "training_examples")
        return current.inputs

    def _models(self) -> dict[str, Path]:
        return _models_of(challenger_folder(self.current.settings, self.hour))

    def _registered(self, lineage: str) -> dict[str, str]:
        """The numbers of the challenger's newest models."""
        from pipelines.registry.versions import register

        settings, tags = self.current.settings, {"lineage": lineage}
        own = {kind: register(settings, self.tracked, kind, path, self.hour, tags) for kind, path in self._models().items()}
        if (work := at_work(settings)) is not None and work.encoder_version is not None:
            own[ENCODER] = read_report(settings, work.encoder_version).versions[ENCODER]
        return dict(self.champion.versions) | own

    def _row(
        self, kind: str, lineage: str, stage: str, why: str, gates: Sequence[Figure], versions: Mapping[str, str]
    ) -> ReleaseRow:  # fmt: skip
        return ReleaseRow(
            release_id="", hour=self.hour, versions=versions, kind=kind, stage=stage, decided_by=self.current.step,
            since=shift(self.hour, 1), decided_at=now(self.current.settings, self.hour), lineage=lineage,
            reasons=(f"{lineage} {why}",), gates=tuple(gates), compared_with=self.champion.release_id,
        )  # fmt: skip


def prune_staging(settings: Settings, hour: str) -> None:
    """Removes the models of versions that were in staging more than KEPT_H hours ago; production never needs them."""
    running, oldest = challenger_before(settings), shift(hour, -KEPT_H)
    for row in all_releases(settings):
        if row.stage == STAGING and row.hour < oldest and (running is None or row.release_id != running.release_id):
            shutil.rmtree(release_folder(settings, row.release_id), ignore_errors=True)


def _is_broken(guard: Decision) -> bool:
    """Whether a version is shown to be worse, and not only to show other slates than it may: the next version may show others."""
    gates = [gate for gate in load_gates("staging") if gate.side != "value" or gate.figure == "finite"]
    failed = [figure for figure in guard.figures if figure.outcome == "fail" and gate_named(figure.gate, gates)]
    return bool(failed) and shown_worse(failed, gates)


def _models_of(folder: Path) -> dict[str, Path]:
    return {kind: folder / kind for kind in (RANKER, POLICY)}
