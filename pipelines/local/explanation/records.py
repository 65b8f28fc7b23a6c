"""What an explanation holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.registry.releases import ReleaseRow


@dataclass(frozen=True)
class SlateItem:
    """One position of the slate. ``rank``: by logit among the candidates, 1 the highest; ``propensity``: given the items above."""

    position: int
    item_id: str
    title: str
    score: float
    logit: float
    rank: int
    propensity: float


@dataclass(frozen=True)
class DrawExplained:
    """The draw that put the item where it stands, as ``slate_decisions`` and ``slate_log`` hold it.

    prefix_probability: that the slate begins with exactly the items down to this one. first_probability: that a draw puts the item
    first. propensity_error: logged propensities of the slate against those of the logged logits, the largest gap. rank_by_score: among
    the candidates by what the ranker expects of them. rule_offset: what a business rule added to the logit; pinned: a rule put it here.
    """

    slate_id: str
    hour: str
    surface: str
    source: str
    reason: str
    arm: str
    arm_share: float
    release_id: str
    versions: Mapping[str, str]
    feature_versions: Mapping[str, int]
    rules: str
    seed: int
    temperature: float
    candidates: int
    position: int
    logit: float
    rank: int
    rank_by_score: int
    propensity: float
    first_probability: float
    prefix_probability: float
    propensity_error: float
    rule_offset: float | None
    pinned: bool
    slate: Sequence[SlateItem]


@dataclass(frozen=True)
class Effect:
    """How much higher the item's log-odds are than without something: of the expected reward, and of the first task.

    lead: of the expected reward, over the mean of the slate's other candidates, which lose the same thing where it is the user's.
    """

    log_odds: float
    first_task: float
    lead: float


@dataclass(frozen=True)
class Value:
    """An input as it came, and its mean over the slate's other candidates."""

    name: str
    own: float
    others: float


@dataclass(frozen=True)
class GroupEffect:
    """A group of the ranker's inputs; ``instead``: what stood in for it; ``values``: those of the item that say most."""

    group: str
    instead: str
    effect: Effect
    values: Sequence[Value] = ()


@dataclass(frozen=True)
class Reaction:
    """A row of ``feedback``; ``value`` None for kinds that have none."""

    event_id: str
    type: str
    value: float | None
    ts: datetime


@dataclass(frozen=True)
class EventEffect:
    """An entry of the person's history, and what the score loses without it.

    age_h: at the draw. weight: strength of the reaction, 0..1. reactions: all to this item that were ingested up to the draw.
    """

    item_id: str
    title: str
    ts: datetime
    age_h: float
    weight: float
    times: float
    event_id: str
    reactions: Sequence[Reaction]
    effect: Effect


@dataclass(frozen=True)
class ScoreExplained:
    """The ranker's score of the item, recomputed by the release at the versions that the decision pinned.

    log_odds: of the expected reward. recomputed_error: against the logged inputs of the draw, the largest gap over all candidates'
    log-odds. note: why there are no effects, where there are none. history: how many entries the ranker read; ``events``: those that
    mattered most.
    """

    expected_reward: float
    log_odds: float
    probabilities: Mapping[str, float]
    recomputed_error: float
    note: str
    groups: Sequence[GroupEffect]
    events: Sequence[EventEffect]
    history: int


@dataclass(frozen=True)
class Attempt:
    """One attempt of a step by the ledger: the hours that it took in, and the table versions that it read and made."""

    step: str
    first_hour: str
    last_hour: str
    hours: int
    attempt: int
    code_version: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    detail: str


@dataclass(frozen=True)
class Learned:
    """Where a model of the release comes from. ``released``: the first release that held this version.

    passes: those that the model is made of, the newest first; ``start``: what they began from. beside: the release that was in
    production then; the ranker that is served of a refresh lies between its and what the passes learned.
    """

    kind: str
    version: str
    released: str
    passes: Sequence[Attempt]
    start: str
    beside: str | None


@dataclass(frozen=True)
class Explanation:
    """A scored row and its causes. ``scoring``: the attempt that drew the slate, None where the ledger has none of these versions."""

    user_id: str
    item_id: str
    title: str
    draw: DrawExplained
    score: ScoreExplained
    release: ReleaseRow
    learned: Sequence[Learned]
    scoring: Attempt | None
