"""The log that judges policies: which slates audit, which teach, which judge; and the figures that the gates ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.hashing import id_hash, uniform
from models.metrics import mean_of_clusters, user_bootstrap_mean
from models.off_policy import propensity_audit
from models.policies.base import SlatePolicy
from models.records import LoggedSlates
from models.rewards import session_returns
from pipelines.hours import hour_range, shift
from pipelines.lake import ledger
from pipelines.lake.holds import without_poisoned
from pipelines.lake.metrics import Metric
from pipelines.registry.gates import AUDIT_ERROR, CONFIDENCE, Measured
from pipelines.registry.policy_figures import Compared, PolicyRecord
from pipelines.settings import Settings
from pipelines.steps.bots import of_bots
from pipelines.steps.candidates import BOTH, CHALLENGER, RANKER_ONLY
from pipelines.steps.catalogue import input_version
from pipelines.steps.fixed_users import fixed_users
from pipelines.steps.folds import in_gate_fold
from pipelines.steps.gate_metrics import gate_metrics
from pipelines.steps.logged_slates import SlateReader
from pipelines.steps.parity import parity
from pipelines.steps.shown_slates import ShownSlates, read_shown_slates
from pipelines.steps.step import Attempt
from spark_jobs.catalogue import Catalogue
from spark_jobs.release import Release

if TYPE_CHECKING:
    from pipelines.steps.policy_learning import Lineage

_SAMPLE = 54  # stream of the hash
AUDIT_SE = 3.0
SUPPORT_SLATES, OUTSIDE = 256, "mass_outside_support"
LOG = "log"  # subject of the audit of all slates


@dataclass(frozen=True)
class SlateLog:
    """What was shown in the last hours, as of ``hour``."""

    settings: Settings
    hour: str
    catalogue: Catalogue
    slates: ShownSlates

    @property
    def mismatched(self) -> int:
        return self.slates.mismatched

    def reader(self, rows: NDArray[np.bool_]) -> SlateReader | None:
        """The marked slates; None where there is none."""
        where = np.flatnonzero(rows)
        return SlateReader(self.settings, self.catalogue, self.slates.take(where)) if len(where) else None

    def learning(self, at_most: int, whole_users: bool = False) -> SlateReader | None:
        """Policy-drawn slates of users outside the gate fold, a hashed sample; of some users all, where what followed counts."""
        return self.reader(self._sample(self._by_policy() & ~self._gate(), at_most, "user_id" if whole_users else "slate_id"))

    def judging(self) -> SlateReader | None:
        """Policy-drawn slates of the gate fold within ``gates.window_h``, a hashed sample of ``gates.max_slates``."""
        recent = self._hours() >= shift(self.hour, -self.settings.gates.window_h)
        return self.reader(self._sample(self._by_policy() & self._gate() & recent, self.settings.gates.max_slates))

    def supporting(self, release_id: str, gate: bool, at_most: int) -> SlateReader | None:
        """Policy-drawn slates of this release, of the gate fold or of the others, some; where it drew none, the newest hour's."""
        fold = self._by_policy() & (self._gate() if gate else ~self._gate())
        own = fold & np.asarray(pc.equal(self.slates.decisions["release_id"], release_id))
        newest = fold & (self._hours() == max(self._hours()[fold], default=""))
        return self.reader(self._sample(own if own.any() else newest, at_most))

    def drawn_by(self, release_id: str, at_most: int) -> SlateReader | None:
        """Policy-drawn slates of this release, of all users, a hashed sample."""
        own = np.asarray(pc.equal(self.slates.decisions["release_id"], release_id))
        return self.reader(self._sample(self._by_policy() & own, at_most))

    def audited(self, arm: str | None = None) -> LoggedSlates | None:
        """Every slate, or every one of the arm, of which at least the first position was shown, as drawn."""
        own = np.asarray(pc.equal(self.slates.decisions["arm"], arm)) if arm else True
        reader = self.reader(self.slates.shown[:, 0] & own)
        return reader.as_drawn() if reader else None

    @property
    def arms(self) -> list[str]:
        return sorted(pc.unique(self.slates.decisions["arm"]).to_pylist())

    def _by_policy(self) -> NDArray[np.bool_]:
        return np.asarray(pc.equal(self.slates.decisions["source"], "policy")) & self.slates.shown[:, 0] & ~self.bots

    @cached_property
    def bots(self) -> NDArray[np.bool_]:
        """(S,) slates of users in hours that no person makes."""
        if not len(self.slates):
            return np.zeros(0, dtype=bool)
        slate = np.repeat(np.arange(len(self.slates)), self.slates.shown.sum(axis=1))
        decisions = self.slates.decisions.combine_chunks()
        user, hour = (pa.array(decisions[name].to_pylist(), pa.string()).take(pa.array(slate)) for name in ("user_id", "hour"))
        ts = pc.strptime(hour, format="%Y-%m-%dT%H", unit="us")
        found = np.zeros(len(self.slates), dtype=bool)
        found[slate[of_bots(user, ts, self.slates.reward[self.slates.shown] > 0)]] = True
        return found

    def _gate(self) -> NDArray[np.bool_]:
        return in_gate_fold(self.settings, self.slates.decisions["user_id"], self.hour)

    def _hours(self) -> NDArray[np.object_]:
        return np.asarray(self.slates.decisions["hour"].to_pylist(), dtype=object)

    def _sample(self, rows: NDArray[np.bool_], at_most: int, by: str = "slate_id") -> NDArray[np.bool_]:
        where = np.flatnonzero(rows)
        ids = self.slates.decisions[by].take(where).to_pylist()
        order = np.argsort(uniform(self.settings.seed, _SAMPLE, id_hash(ids)), kind="stable") if len(ids) else np.zeros(0, int)
        kept = np.zeros(len(rows), bool)
        kept[where[order[:at_most]]] = True
        return kept


def read_log(current: Attempt, catalogue: Catalogue) -> SlateLog | None:
    """Slates shown in the last ``policy.log_h`` hours after the first load, poisoned ones left out; None before anything was drawn."""
    settings, hour = current.settings, current.hours[-1]
    drawn = ledger.newest_done(settings, "score_users", before=hour)
    if drawn is None:
        return None
    current.inputs |= {name: drawn.outputs[name] for name in ("slate_decisions", "slate_log")}
    input_version(current, "training_examples")
    first = max(shift(hour, 1 - settings.policy.log_h), shift(settings.lake.start_hour or hour, 1))
    hours = without_poisoned(settings, hour_range(first, hour))
    return SlateLog(settings, hour, catalogue, read_shown_slates(settings, hours, current.inputs)) if hours else None


def audit(slates: LoggedSlates | None, subject: str = LOG) -> list[Metric]:
    """The propensity audit of all slates that were first shown lately: recomputed against logged, and the mean weight of 1."""
    if slates is None:
        return []
    error, mean, se = propensity_audit(slates)
    return [
        Metric("propensity_max_error", subject, error, n=len(slates)),
        Metric("propensity_mean_weight", subject, mean, mean - AUDIT_SE * se, mean + AUDIT_SE * se, len(slates)),
    ]


def audit_of_arms(log: SlateLog) -> list[Metric]:
    """The same of each arm's slates, where there was more than one."""
    return [metric for arm in log.arms for metric in audit(log.audited(arm), arm)] if len(log.arms) > 1 else []


def session_return(log: SlateLog) -> list[Metric]:
    """What a session of a user was worth, by ``policy.discount`` a slate, as it was observed; bots left out, users resampled."""
    reader = log.reader(log.slates.shown[:, 0] & ~log.bots)
    if reader is None:
        return []
    slates = reader.as_drawn()
    total, first = session_returns((slates.reward * slates.shown).sum(1), slates.following, log.settings.policy.discount)
    mean, low, high = user_bootstrap_mean(total.numpy(), slates.user[first].numpy(), seed=log.settings.seed)
    return [Metric("session_return", "log", mean, low, high, len(total))]


def holds(audited: Sequence[Metric]) -> bool:
    """Whether nothing that was audited contradicts the log; arms are looked at, and bind nothing of their own."""
    found = {metric.name: metric for metric in audited if metric.subject == LOG}
    if not found:
        return True
    weight = found["propensity_mean_weight"]
    within = weight.low is not None and weight.high is not None and weight.low <= 1 <= weight.high
    return found["propensity_max_error"].value <= AUDIT_ERROR and within


def judged(
    log: SlateLog, lineage: "Lineage", policy: SlatePolicy, challenger: tuple[Release, SlateLog] | None = None
) -> tuple[list[Metric], PolicyRecord | None]:
    """{new ranker, new policy}, {new ranker, production policy} and the challenger against production, on the gate fold's slates.

    And a record of the first. The challenger's value is asked in staging, here only how its slates differ; with it comes the log by the
    vectors that it reads.
    """
    reader = log.judging()
    if reader is None or lineage.champion is None:
        return [], None
    production = reader.composed(lineage.champion)
    base, found = production.logits, parity(reader, lineage.champion.release_id, production)
    asked = {BOTH: (lineage.composed(policy), log), RANKER_ONLY: (lineage.composed(lineage.champion.policy), log)}
    asked |= {CHALLENGER: challenger} if challenger else {}
    compared = {}
    for subject, (release, own) in asked.items():
        new = (reader if own is log else own.judging() or reader).composed(release)
        compared[subject] = Compared(new.slates, new.logits, base, reader.rows, log.settings.seed)
        found += gate_metrics(compared[subject].gate_figures(len(log.catalogue.ids)), subject)
    found += _outside(log, lineage, policy)
    record = replace(compared[BOTH].record(), users=fixed_users(reader, compared[BOTH], lineage.ranker.config))
    return [*found, *record.metrics()], record


def _outside(log: SlateLog, lineage: "Lineage", policy: SlatePolicy) -> list[Metric]:
    """What of the candidate's slates, with either policy, the log's candidates did not hold, on the gate fold."""
    from pipelines.steps.support import Support

    champion = lineage.champion
    reader = log.supporting(champion.release_id, True, SUPPORT_SLATES) if champion else None
    if champion is None or reader is None:
        return []
    support, found = Support(log.settings, reader), list[Metric]()
    users = np.array(reader.shown.decisions["user_id"].to_pylist())
    for subject, own in ((BOTH, policy), (RANKER_ONLY, champion.policy)):
        shares = support.outside(lineage.composed(own))
        found += gate_metrics({OUTSIDE: Measured(*mean_of_clusters(shares, users, CONFIDENCE), len(shares))}, subject)
    return found
