"""One frozen settings object: packaged defaults, the domain's YAML, the root's ``recloop.yaml``, then ``RECLOOP__…``.

The only module that reads the environment. Nothing is read at import.
"""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipelines.errors import UserError
from pipelines.hours import parse_hour
from pipelines.objectives import Objectives

CONFIG = Path(__file__).parent / "config"
DOMAINS = ("ecommerce", "video", "social")
ENV_PREFIX = "RECLOOP__"


class SettingsError(UserError, ValueError):
    """Settings that cannot be used; the text names the key, what was found and what is legal."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


Kind = Literal["impressions", "feedback", "items"]


class Source(_Section):
    """Where landing files of a kind are pulled from: the objects under ``uri``, or the records of ``topic`` at ``brokers``.

    ``name``: of the topic in its landing files, where two clusters have the same or a topic was made anew. ``options``: the consumer's.
    """

    kind: Kind
    uri: str = ""
    brokers: str = ""
    topic: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")
    max_records: int = Field(default=200_000, ge=1)
    options: dict[str, str | int | bool] = {}

    @model_validator(mode="after")
    def _one_way(self) -> "Source":
        if bool(self.uri) == bool(self.topic) or bool(self.topic) != bool(self.brokers):
            raise ValueError("a source has either uri, or brokers and topic")
        return self

    @property
    def landing_name(self) -> str:
        return self.name or self.topic


class Lake(_Section):
    start_hour: str | None
    now: Literal["wall", "loop"]
    refused_share: float = Field(ge=0, le=1)
    max_missing_hours: int = Field(ge=1)
    max_record_bytes: int = Field(ge=1000)
    hour_done: tuple[Kind, ...]
    sources: tuple[Source, ...]

    @field_validator("start_hour")
    @classmethod
    def _is_hour(cls, value: str | None) -> str | None:
        if value is not None:
            parse_hour(value)
        return value

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [(source.kind, source.landing_name) for source in value if source.topic]
        if twice := {name for kind, name in names if names.count((kind, name)) > 1}:
            raise ValueError(f"two topics land as {', '.join(sorted(twice))}; give one of them another name")
        return value

    @property
    def objects(self) -> tuple[Source, ...]:
        return tuple(source for source in self.sources if source.uri)

    @property
    def topics(self) -> tuple[Source, ...]:
        return tuple(source for source in self.sources if source.topic)


class Spark(_Section):
    remote: str | None = Field(pattern=r"^sc://")
    port: int | None = Field(ge=1, le=65535)
    heap: str = Field(pattern=r"^\d+[mg]$")
    options: dict[str, str]


class Airflow(_Section):
    schedule: Literal["hourly", "manual"]
    grace_minutes: int = Field(ge=0, lt=60)
    port: int | None = Field(ge=1, le=65535)


class Mlflow(_Section):
    tracking_uri: str | None
    port: int | None = Field(ge=1, le=65535)
    runs_days: int = Field(ge=7)


class EncoderSettings(_Section):
    path: str | None
    pooling: Literal["mean", "last"]
    max_tokens: int = Field(ge=4, le=512)


class RankerSettings(_Section):
    dim: int = Field(ge=4)
    hidden: int = Field(ge=4)
    bootstrap_epochs: int = Field(ge=1)
    bootstrap_lr: float = Field(gt=0)
    lr: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    rows_an_hour: int = Field(ge=1000)
    replay_ratio: float = Field(ge=0)
    replay_days: int = Field(ge=1)
    replay_per_user_day: int = Field(ge=1)


class AdapterSettings(_Section):
    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    width: int = Field(ge=1)
    lr: float = Field(gt=0)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    history: int = Field(ge=1, le=50)
    rows: int = Field(ge=100)


class PolicySettings(_Section):
    learner: Literal["reinforce", "slate_q", "neural_linear", "lin_ucb", "softmax", "epsilon_greedy"]
    temperature: float | None = Field(gt=0)
    explore_cost: float = Field(gt=0, lt=1)
    highest_temperature: float = Field(ge=0.05)
    logit_range: float = Field(gt=0, le=7)
    steps: int = Field(ge=1)
    lr: float = Field(gt=0)
    weight_cap: float = Field(ge=1)
    kl_limit: float = Field(gt=0)
    reach: float = Field(gt=0)
    least_effective: int = Field(ge=0)
    outside: float = Field(ge=0, le=1)
    anchor_kl_limit: float = Field(gt=0)
    entropy: float = Field(ge=0)
    epsilon: float = Field(gt=0, lt=1)
    bonus: float = Field(ge=0)
    discount: float = Field(ge=0, lt=1)
    shaping: float
    session_h: int = Field(ge=1)
    log_h: int = Field(ge=1, le=168)


class Slates(_Section):
    surface: str
    size: int = Field(ge=1, le=50)
    retrieved: int = Field(ge=1, le=5000)
    candidates: int = Field(ge=1, le=200)
    explore_share: float = Field(ge=0, le=1)
    seen_days: int = Field(ge=0)
    fresh_hours: int = Field(ge=0)
    rules: str | None

    @model_validator(mode="after")
    def _enough_candidates(self) -> "Slates":
        if self.candidates < self.size:
            raise ValueError(f"candidates ({self.candidates}) must be at least size ({self.size})")
        if self.retrieved < self.candidates:
            raise ValueError(f"retrieved ({self.retrieved}) must be at least candidates ({self.candidates})")
        return self


class Gates(_Section):
    fold_share: float = Field(gt=0, lt=1)
    fold_days: int = Field(ge=1)
    window_h: int = Field(ge=1, le=72)
    max_slates: int = Field(ge=100)
    hold_band: float | None = Field(gt=0)
    approval: bool
    approval_h: int = Field(ge=1, le=720)


class RewardTermSettings(_Section):
    """Reaction ``task`` pays ``weight`` × min(label, cap); the label is value/attribute, value/per_value, value ≥ positive_from, or 1.

    With per_value, a reaction without a value counts with its item's price, and with 1 where that is not known either.
    """

    task: Literal["view", "click", "cart", "purchase", "watch", "rating", "like", "comment", "share", "hide"]
    weight: float
    cap: float = Field(gt=0)
    per_attribute: str | None = None
    positive_from: float | None = None
    per_value: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [name for name in ("per_attribute", "positive_from", "per_value") if getattr(self, name) is not None]
        if len(kinds) > 1:
            raise ValueError(f"a label is of one kind, found {' and '.join(kinds)}; keep one of them")
        return self


class Reward(_Section):
    version: str
    horizon_h: int = Field(ge=1)
    terms: tuple[RewardTermSettings, ...] = Field(min_length=1)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(term.task for term in self.terms)


class Settings(_Section):
    """Everything that may be set, and where the root's folders are."""

    home: Path
    domain: Literal["ecommerce", "video", "social"]
    seed: int
    failpoint: str | None
    lake: Lake
    spark: Spark
    airflow: Airflow
    mlflow: Mlflow
    encoder: EncoderSettings
    ranker: RankerSettings
    adapter: AdapterSettings
    policy: PolicySettings
    slates: Slates
    gates: Gates
    objectives: Objectives
    attribution_h: dict[str, float]
    reward: Reward

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse"

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    @property
    def run_folder(self) -> Path:
        """Process ids, ports and log-in of the services that this root started (``services.json``)."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def truth(self) -> Path:
        """What only the simulator and the evaluation of simulated worlds may read."""
        return self.home / "truth"


def load_settings(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of the root ``home`` (default ``$RECLOOP_HOME``, else ``.recloop`` in the working folder). Raises SettingsError."""
    environ = os.environ if environ is None else environ
    root = Path(home or environ.get("RECLOOP_HOME") or ".recloop").absolute()
    own = _merge(_read_yaml(root / "recloop.yaml"), _from_environment(environ))
    values = _read_yaml(CONFIG / "defaults.yaml")
    domain = own.get("domain", values["domain"])
    if domain not in DOMAINS:
        raise SettingsError(f"unknown domain {domain!r}; legal values: {', '.join(DOMAINS)}")
    values = _merge(_merge(values, _read_yaml(CONFIG / f"{domain}.yaml")), own)
    try:
        return Settings(home=root, **values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with some changes: what a started service gets."""
    return {**os.environ, **changes}


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}; mend or remove the file") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: found a {type(values).__name__}, expected keys and values")
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX):
            *path, last = name.removeprefix(ENV_PREFIX).lower().split("__")
            node = values
            for part in path:
                node = node.setdefault(part, {})
            node[last] = yaml.safe_load(environ[name])
    return values


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}; legal keys here: {', '.join(_legal_keys(first['loc'][:-1]))}"
    return f"{key}: {first['msg']}; found {first.get('input')!r}"


def _legal_keys(path: tuple[int | str, ...]) -> list[str]:
    model: Any = Settings
    for part in path:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else next(iter(get_args(model)), model)
    return sorted(set(model.model_fields) - {"home"})
