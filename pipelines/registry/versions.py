"""Registered model versions and the aliases that a release moves: each version made once, found again by its tags."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pipelines.errors import UserError
from pipelines.failpoint import failpoint
from pipelines.registry.client import call, error_code, unless_exists
from pipelines.registry.flavors import KINDS, Flavor, flavor_of
from pipelines.registry.logged_models import drop_unregistered, link_version, log_model
from pipelines.registry.model_card import describe
from pipelines.registry.runs import Run
from pipelines.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Alias = Literal["candidate", "staging", "production"]
_ABOUT = {
    "encoder": "Text to unit vectors. One version for each set of weights, pooling and length limit.",
    "ranker": "Probability of each reaction of a user to an item. One version for each hour that taught something.",
    "policy": "Plackett-Luce logits over the ranker's candidates. Refreshed each hour from its own logged slates.",
}
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class VersionRow:
    """One registered version; ``run_id``: the run that made it."""

    number: str
    hour: str
    run_id: str
    tags: Mapping[str, str]
    created: datetime


def model_name(settings: Settings, kind: str) -> str:
    """``recloop-<domain>-<kind>``. Raises UserError for a kind that is none."""
    if kind not in KINDS:
        raise UserError(f"unknown kind of model {kind!r}; kinds: {', '.join(KINDS)}")
    return f"recloop-{settings.domain}-{kind}"


def register(settings: Settings, run: Run, kind: str, folder: Path, hour: str, tags: Mapping[str, str] = _NO_TAGS) -> str:
    """Number of the version that holds this folder: the one made before for the same hour and content, else a new one.

    An encoder is known by its content alone. Raises RegistryDown.
    """
    name, flavor = model_name(settings, kind), flavor_of(settings, kind, folder)
    run.flush()
    identity = {"kind": kind, "content": flavor.content} | ({} if kind == "encoder" else {"hour": hour})
    number = call(settings, lambda client: _find(client, name, identity))
    if number is None:
        number = _make(run, name, flavor, dict(run.tags) | {"hour": hour} | dict(tags), identity)
        _show(run, flavor, hour)
    describe(settings, kind, name, number)
    run.tag(f"{kind}_version", number)
    return number


def versions(settings: Settings, kind: str) -> list[VersionRow]:
    """Every version, oldest first."""
    name = model_name(settings, kind)
    rows = [_row(found) for found in call(settings, lambda client: _search(client, name, {}))]
    return sorted(rows, key=lambda row: int(row.number))


def set_alias(settings: Settings, kind: str, alias: Alias, version: str) -> None:
    """Points the alias at the version. Raises UserError where there is no such version."""
    set_aliases(settings, {kind: version}, alias)


def set_aliases(settings: Settings, versions: Mapping[str, str], alias: Alias) -> None:
    """Points the alias of each kind at its version; where one of them does not exist, no alias moves."""
    for kind, version in versions.items():
        _check(settings, kind, version)
    for kind, version in versions.items():
        _point(settings, model_name(settings, kind), alias, version)
        failpoint(settings, f"alias:{kind}")


def drop_alias(settings: Settings, alias: Alias) -> None:
    """Takes the alias off every kind that has it."""
    for kind in alias_versions(settings, alias):
        _drop(settings, model_name(settings, kind), alias)


def alias_versions(settings: Settings, alias: Alias) -> dict[str, str]:
    """Version that the alias of each kind points at; a kind without it is left out."""
    found = {kind: _aliases(settings, model_name(settings, kind)).get(alias) for kind in KINDS}
    return {kind: version for kind, version in found.items() if version is not None}


def tag_version(settings: Settings, kind: str, version: str, tags: Mapping[str, str]) -> None:
    """Sets tags and rewrites the card, so that the registry page tells what became of the version and why."""
    _check(settings, kind, version)
    name = model_name(settings, kind)
    for key, value in tags.items():
        _tag(settings, name, version, key, value)
    describe(settings, kind, name, version)


def _make(run: Run, name: str, flavor: Flavor, tags: Mapping[str, str], identity: Mapping[str, str]) -> str:
    """Logs the model, then registers it; what a killed attempt logged without registering goes first."""
    known_by = {"encoder_version": flavor.metadata["encoder_version"]} if "encoder_version" in flavor.metadata else {}
    all_tags = {**tags, **known_by, **identity}
    drop_unregistered(run, identity)
    model_id = log_model(run, flavor, all_tags)

    def find_or_create(client: "MlflowClient") -> str:
        with unless_exists():
            client.create_registered_model(name, {"kind": flavor.kind}, _ABOUT[flavor.kind])
        found = _find(client, name, identity)
        return found or str(client.create_model_version(name, f"models:/{model_id}", run.run_id, all_tags, model_id=model_id).version)

    number = call(run.settings, find_or_create)
    failpoint(run.settings, f"register:{flavor.kind}")
    link_version(run, model_id, name, number)
    return number


def _show(run: Run, flavor: Flavor, hour: str) -> None:
    """A new encoder's map of the catalogue, where its vectors are there already."""
    from pipelines.registry.embedding_map import encoder_map

    picture = encoder_map(run.settings, hour, flavor.content) if flavor.kind == "encoder" else None
    if picture is not None:
        run.figure("embeddings", picture)


def _find(client: "MlflowClient", name: str, identity: Mapping[str, str]) -> str | None:
    """The first version with these tags."""
    numbers = [int(found.version) for found in _search(client, name, identity)]
    return str(min(numbers)) if numbers else None


def _search(client: "MlflowClient", name: str, tags: Mapping[str, str]) -> "list[ModelVersion]":
    condition = " and ".join([f"name = '{name}'", *(f"tags.`{key}` = '{value}'" for key, value in tags.items())])
    found: list[ModelVersion] = []
    token = None
    while True:
        page = client.search_model_versions(condition, max_results=1000, page_token=token)
        found, token = found + list(page), page.token
        if not token:
            return found


def _row(found: "ModelVersion") -> VersionRow:
    created = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    return VersionRow(str(found.version), found.tags.get("hour", ""), found.run_id or "", dict(found.tags), created)


def _check(settings: Settings, kind: str, version: str) -> None:
    name = model_name(settings, kind)
    try:
        call(settings, lambda client: client.get_model_version(name, version))
    except Exception as error:
        if error_code(error) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"MLflow has no version {version} of {name}; no alias or tag was changed") from None
        raise


def _point(settings: Settings, name: str, alias: str, version: str) -> None:
    call(settings, lambda client: client.set_registered_model_alias(name, alias, version))


def _drop(settings: Settings, name: str, alias: Alias) -> None:
    call(settings, lambda client: client.delete_registered_model_alias(name, alias))


def _tag(settings: Settings, name: str, version: str, key: str, value: str) -> None:
    call(settings, lambda client: client.set_model_version_tag(name, version, key, value))


def _aliases(settings: Settings, name: str) -> dict[str, str]:
    try:
        return {alias: str(number) for alias, number in call(settings, lambda client: client.get_registered_model(name)).aliases.items()}
    except Exception as error:
        if error_code(error) == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
