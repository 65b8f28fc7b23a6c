"""The business rules of a root: a YAML file that ``slates.rules`` names, kept as it was for every hour that was drawn by it."""

import hashlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipelines.errors import UserError
from pipelines.lake.ledger import RULES, LandingFile, LedgerRow
from pipelines.local.landing import write_file
from pipelines.settings import Settings
from spark_jobs.business_rules import Boost, BusinessRules

MAX_BOOST = 2.0  # nats: seven times the odds


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Block(_Part):
    items: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class _Boost(_Block):
    logits: float = Field(ge=-MAX_BOOST, le=MAX_BOOST)


class _Stock(_Part):
    attribute: str
    at_least: float = 1.0


class _Pin(_Part):
    position: int = Field(ge=0, lt=50)
    item: str


class _Cap(_Part):
    by: str = Field(min_length=1)
    at_most: int = Field(ge=1)


class _RulesFile(_Part):
    """What the file may hold."""

    block: _Block = _Block()
    stock: _Stock | None = None
    boost: tuple[_Boost, ...] = ()
    pin: tuple[_Pin, ...] = ()
    cap: _Cap | None = None
    seen_days: int | None = Field(default=None, ge=0)

    @field_validator("pin")
    @classmethod
    def _one_a_place(cls, pins: tuple[_Pin, ...]) -> tuple[_Pin, ...]:
        for name in ("position", "item"):
            values = [getattr(pin, name) for pin in pins]
            if twice := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"{name} {sorted(twice)[0]} is pinned twice")
        return pins


def rules_in_force(settings: Settings) -> tuple[BusinessRules, tuple[LandingFile, ...]]:
    """The rules of now, and the copy of their file that is kept for reruns. Raises UserError for a file that is missing or wrong."""
    if settings.slates.rules is None:
        return BusinessRules(), ()
    path = settings.home / settings.slates.rules
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"slates.rules names {path}, which cannot be read; write the file, or set slates.rules to null") from None
    rules = _parsed(content, path)
    kept = _copy(settings, rules.version)
    if not kept.exists():
        write_file(kept, content)
    digest = hashlib.sha256(content).hexdigest()
    return rules, (LandingFile(str(kept.relative_to(settings.home)), len(content), digest, RULES),)


def rules_of(settings: Settings, drawn: LedgerRow | None) -> BusinessRules:
    """The rules that the hour of this ``frozen`` row was drawn by. Raises UserError where their copy is gone."""
    file = next((file for file in drawn.files if file.kind == RULES), None) if drawn else None
    if file is None:
        return BusinessRules()
    path = settings.home / file.path
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
        raise UserError(f"{path}, the rules that {drawn.hour if drawn else ''} was drawn by, is gone or changed; put it back from a copy")
    return _parsed(path.read_bytes(), path)


def _copy(settings: Settings, version: str) -> Path:
    return settings.home / "rules" / f"{version}.yaml"


def _parsed(content: bytes, path: Path) -> BusinessRules:
    try:
        found: Any = yaml.safe_load(content) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: found a {type(found).__name__}, expected keys and values: {', '.join(_RulesFile.model_fields)}")
    try:
        file = _RulesFile(**found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = f"; keys of the file: {', '.join(_RulesFile.model_fields)}" if first["type"] == "extra_forbidden" else ""
        raise UserError(f"{path}: {key}: {first['msg']}; found {first.get('input')!r}{known}") from None
    return BusinessRules(
        version=hashlib.sha256(content).hexdigest()[:12],
        blocked_items=file.block.items,
        blocked_tags=file.block.tags,
        stock=(file.stock.attribute, file.stock.at_least) if file.stock else None,
        boosts=tuple(Boost(one.logits, one.items, one.tags) for one in file.boost),
        pins=tuple((pin.position, pin.item) for pin in file.pin),
        cap_by=file.cap.by if file.cap else "",
        cap_at=file.cap.at_most if file.cap else 0,
        seen_days=file.seen_days,
    )
